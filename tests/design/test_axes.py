"""What a study says of connector, tiling and injection, and what becomes of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablate.catalog.axes import AXES
from ablate.config.study import Study, load_study
from ablate.cost.estimate import model_cost
from ablate.design import Candidate
from ablate.design.recipe import StageConfig
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for

STAGE: dict[str, Any] = {"data": "pairs", "steps": 1, "batch_size": 1}


def first(study: Study) -> Candidate:
    return rounds_so_far(study, StoredResults(Store(Path("nowhere")), study), 1)[0].candidates[0]


def keys(*overrides: str) -> list[str]:
    study = load_study("micro/rounds", overrides)
    return [step.key for step in steps_for(first(study), study)]


def connector(word: str) -> dict[str, Any]:
    return load_study("micro/smoke", [f"base.connector={word}"]).base.connector


@pytest.mark.parametrize("word", ["mlp", "{name: mlp}", "{name: mlp, depth: 2}", "mlp2x_gelu"])
def test_the_default_written_out_is_no_other_step(word: str) -> None:
    plain = keys()
    assert keys(f"base.connector={word}", "base.tiling=none", "base.injection=prefix") == plain
    design = load_study("micro/rounds", [f"base.connector={word}"]).base
    assert design.chosen == {}
    assert not {"connector", "tiling", "injection"} & design.model_dump().keys()


def test_another_choice_is_another_step_but_for_what_trains_an_expert_alone() -> None:
    plain, other = keys(), keys("base.connector=linear")
    alone = len(load_study("micro/rounds").base.encoders)
    assert plain[:alone] == other[:alone]
    assert not set(plain[alone:]) & set(other[alone:])
    assert keys("base.connector={name: mlp, depth: 1}") == other
    assert keys("base.connector=mlp3x_gelu") not in (plain, other)


@pytest.mark.parametrize(
    ("word", "depth"), [("linear", 1), ("mlp2x_gelu", 2), ("mlp11x_gelu", 11), ("mlp", 2)]
)
def test_the_words_of_llava_are_read(word: str, depth: int) -> None:
    assert connector(word) == {"name": "mlp", "depth": depth}


def test_a_choice_is_told_where_it_is_not_the_default_and_in_what() -> None:
    plain = load_study("micro/smoke").base
    assert plain.fused == "channel_concat"
    linear = load_study("micro/smoke", ["base.connector=linear"])
    assert linear.base.fused == "channel_concat, mlp depth=1"
    slug = steps_for(first(linear), linear)[-1].slug
    assert slug == steps_for(first(load_study("micro/smoke")), linear)[-1].slug + ".mlp"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "base.connector=mpl",
            "base.connector: no connector 'mpl'; did you mean 'mlp', or another of",
        ),
        (
            "base.connector={name: mlp, deph: 2}",
            "base.connector: connector 'mlp' has no option 'deph'; did you mean 'depth'?",
        ),
        (
            "base.connector={name: mlp, depth: deep}",
            "base.connector: option 'depth' of connector 'mlp' is int, got 'deep'",
        ),
        ("base.connector={depth: 2}", "base.connector: its name is missing, as in {name: mlp}"),
        ("base.connector=3", "base.connector: should be a mapping of fields, got 3"),
        ("base.tiling={name: none, tiles: 2}", "base.tiling: tiling 'none' has no option 'tiles'"),
        ("base.tiling=non", "base.tiling: no tiling 'non'; did you mean 'none'?"),
        ("base.injection=prefx", "no injection 'prefx'; did you mean 'prefix'?"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_choice(written: str, says: str) -> None:
    with pytest.raises(UserError, match=r"^--set ") as raised:
        load_study("micro/smoke", [written])
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_option_of_an_arm_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: micro/smoke\n"
        "explore:\n"
        "  kind: arms\n"
        "  axis: connector\n"
        "  arms:\n"
        "    - {name: base}\n"
        "    - {name: deeper, set: {connector: {name: mlp, dept: 3}}}\n"
    )
    with pytest.raises(UserError) as raised:
        load_study(str(path))
    assert str(raised.value).startswith(f"{path}:7: base.connector: connector 'mlp' has no option")


def test_a_connector_too_deep_to_be_is_told_before_anything_is_launched() -> None:
    design = load_study("micro/smoke", ["base.connector={name: mlp, depth: 0}"]).base
    with pytest.raises(UserError, match="connector 'mlp': depth 0: at least one layer is needed"):
        model_cost(design)


def test_the_connector_is_another_word_for_the_projector_in_what_trains() -> None:
    said = {**STAGE, "train": {"connector": {"lr": 1e-3, "lora": {"rank": 4}}, "llm": 1e-4}}
    stage = StageConfig.model_validate(said)
    assert stage.train == {"projector": 1e-3, "llm": 1e-4}
    assert stage.adapters["projector"]["name"] == "lora"
    silent = {**STAGE, "train": {"connector": 1e-3, "projector": None}}
    assert StageConfig.model_validate(silent).train == {"projector": 1e-3}
    both = {**STAGE, "train": {"connector": 1e-3, "projector": 1e-3}}
    with pytest.raises(ValueError, match="connector is another word for projector; give one"):
        StageConfig.model_validate(both)


def test_axes_are_listed_without_torch() -> None:
    program = (
        "import json, sys; from ablate.commands.list import CATALOGS; "
        "print(json.dumps([CATALOGS[f'{axis}s']() for axis in sys.argv[1:]])); "
        "print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program, *AXES], capture_output=True, text=True)
    listed, torch = said.stdout.splitlines()
    assert torch == "False", said.stderr
    rows = dict(zip(AXES, json.loads(listed), strict=True))
    for name, axis in AXES.items():
        assert [row[name] for row in rows[name]] == axis.names()
        assert all(row["description"] for row in rows[name])
    assert {"connector": "mlp", "options": "depth=2"}.items() <= next(
        row for row in rows["connector"] if row["connector"] == "mlp"
    ).items()
