"""Every published system that docs/design_space.md names is a study that plans at its true size."""

import re
from pathlib import Path

import pytest

from ablate.commands.cost_estimate import CostEstimate
from ablate.commands.study_status import survey
from ablate.config.study import STUDIES_DIR, load_study, study_names
from ablate.cost import estimate as cost

SYSTEMS = [name for name in study_names() if name.startswith("systems/")]
PAGE = (STUDIES_DIR.parent / "docs" / "design_space.md").read_text()
TOKENS = {
    "blip2": [1024, 32, 32],
    "brave": [1024, 96],
    "cambrian": [1024, 576],
    "deepseek_vl": [1024, 576],
    "dense_connector": [1024, 576, 576, 720],
    "distilled": [1024, 1024, 1024, 1024, 1024],
    "eagle2": [1024, 3328],
    "honeybee": [1024, 144, 144],
    "i_mof": [1024, 1152, 512],
    "idefics3": [1024, 169, 172],
    "internvl": [1024, 256, 3328],
    "llava": [1024, 256, 576],
    "llava_next": [1024, 2340],
    "llava_uhd": [1024, 324],
    "ive": [1024, 768],
    "lynx": [1024, 32, 32],
    "merv": [1024, 1024, 1024],
    "mini_gemini": [1024, 576, 1024],
    "minigpt4": [1024, 32, 256],
    "moai": [1024, 1225],
    "monkey": [1024, 1280],
    "mova": [1024, 576, 576],
    "mousi": [1024, 1408, 1216, 1153],
    "palm_e": [1024, 729],
    "prismer": [1024, 512],
    "qwen_vl": [1024, 256, 256],
    "sequence_former": [1024, 128],
    "sphinx": [1024, 288],
    "token_packer": [1024, 144],
    "vila": [1024, 196, 196],
}
"""What an image of 640x480 pixels becomes, in each arm."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if number % 3 else name
        for number, name in enumerate(SYSTEMS)
    ],
)
def test_a_system_is_planned_without_weights_and_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "nothing"))
    status = survey(name, [])
    assert all(CostEstimate(status).costs.values())
    first, *others = status.candidates
    assert first.name == "Eagle"
    assert others
    assert len({one.model_dump_json(exclude={"name", "point"}) for one in status.candidates}) == (
        len(status.candidates)
    )


@pytest.mark.parametrize("name", TOKENS)
def test_an_image_becomes_as_many_tokens_as_the_system_has(name: str) -> None:
    designs = load_study(f"systems/{name}").designs
    assert [cost.model_cost(design).visual_tokens for design in designs] == TOKENS[name]


def test_the_page_names_every_study_of_a_system_and_no_other() -> None:
    assert {f"systems/{name}" for name in re.findall(r"sweeps/systems/(\w+)\.yaml", PAGE)} == {
        *SYSTEMS,
        "systems/base",
    }
