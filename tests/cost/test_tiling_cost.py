"""What a tiling costs is planned from sizes alone, and is what the model then has."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablate.catalog.data_sources import WorldData
from ablate.catalog.model_spec import ModelSpec
from ablate.config.study import load_study
from ablate.cost import estimate as cost
from ablate.cost import visual
from ablate.cost.checks import check_built
from ablate.design import Candidate, Design, encoder_spec, llm_spec
from ablate.errors import UserError
from ablate.model.mllm import build_model
from fusion_zoo.tilings import TILINGS


def design(tiling: str, *more: str) -> Design:
    return load_study("micro/fusion", [f"base.tiling={tiling}", *more]).base


@pytest.mark.parametrize("fusion", ["channel_concat", "sequence_append"])
@pytest.mark.parametrize("name", TILINGS.names())
def test_parameters_and_the_most_tokens_are_those_a_model_is_built_with(
    name: str, fusion: str
) -> None:
    planned = design(name, f"base.fusion.name={fusion}")
    spec = ModelSpec(
        [encoder_spec(title) for title in planned.encoders],
        planned.fusion.model_dump(),
        planned.recipe.feature_norm,
        replace(llm_spec(planned.llm), context=4096),
        tiling=planned.tiling,
    )
    with torch.device("meta"):
        model = build_model(spec, load_weights=False, seed=0)
    most = cost.model_cost(planned, None)
    assert most.visual_tokens == model.num_visual_tokens
    for part, module in model.parts.items():
        assert most.parts[part].parameters == sum(p.numel() for p in module.parameters()), part
    for size in ((640, 480), (128, 128)):
        cut = model.tiles.cut(torch.tensor([size]))
        found = cost.model_cost(planned, size)
        assert found.visual_tokens == len(cut.orders[0]) <= most.visual_tokens
        alone = cost.model_cost(design("none", f"base.fusion.name={fusion}"))
        assert found.encoders.flops == sum(cut.views) * alone.encoders.flops
        assert found.fusion.flops == sum(cut.views) * alone.fusion.flops


def test_an_image_of_the_world_is_counted_at_its_size_and_others_at_a_usual_one() -> None:
    study = load_study("micro/fusion", ["base.tiling={name: internvl, max_tiles: 6}"])
    assert cost.usual_size(study, study.base) == WorldData.size
    found = cost.model_cost(study.base, WorldData.size)
    assert found.visual_tokens == 5 * 16  # two by two and the whole
    eagle = load_study("eagle/fusion")
    assert cost.usual_size(eagle, eagle.base) == visual.TYPICAL


def test_more_tiles_than_the_context_holds_are_told_before_anything_starts() -> None:
    crowded = design("{name: internvl, max_tiles: 100}")
    candidate = Candidate(**crowded.model_dump(), name="a", point="a", round=1, seed=0)
    with pytest.raises(UserError) as told:
        check_built([candidate])
    assert str(told.value) == (
        "a: channel_concat, internvl max_tiles=100 of 2 encoders makes up to 1616 tokens of an "
        "image, which leave no room for text in 1024 (the context of llama-micro); take fewer "
        "tiles, a smaller grid or fewer encoders, or raise that limit"
    )


@pytest.mark.parametrize(
    ("tiling", "said"),
    [
        ("{name: anyres, grids: [2by1]}", "tiling 'anyres': '2by1' is no grid of tiles"),
        ("{name: s2, scales: 0}", "tiling 's2': 0 scales"),
    ],
)
def test_options_that_make_no_sense_are_told(tiling: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        cost.model_cost(design(tiling))


def test_planning_a_tiling_needs_no_torch_once_its_fusion_is_known(own_home: Path) -> None:
    for known in (visual._fused, visual.connector_figures):
        known.cache_clear()  # what this process knows is not all in this home
    cost.model_cost(design("none"), None)
    program = """
import sys
from ablate.config.study import load_study
from ablate.cost import estimate
base = load_study("micro/fusion", ["base.tiling=internvl"]).base
assert estimate.model_cost(base, None).visual_tokens == 13 * 16
print("torch" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    assert told.stdout == b"False\n"
