"""A grown mixture begins as the smaller one, and goes on from there."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toys import Make, weights

import fusion_zoo
from ablate.catalog import encoders as registry
from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.train.restore import load_trained, starting_model
from ablate.train.stage import train

SMALL, LARGE = (
    ("clip-micro@32", "sam-micro@128"),
    ("clip-micro@32", "sam-micro@128", "eva02-micro@128"),
)
LEARNING = {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3}


@pytest.fixture
def small(make_context: Make) -> Path:
    """A mixture of two, trained a little."""
    ctx = make_context("small", encoders=SMALL, train=LEARNING, steps=3)
    train(ctx)
    return ctx.commit()


def seen(model: Mllm) -> torch.Tensor:
    """What the language model is given of five images of any size."""
    torch.manual_seed(0)
    return torch.stack(model.eval().see(torch.randint(0, 256, (5, 3, 96, 80), dtype=torch.uint8)))


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_a_grown_model_computes_what_the_smaller_one_does(
    make_context: Make, small: Path, norm: str
) -> None:
    ctx = make_context("large", "pretrain", encoders=LARGE, parents={"grown": small})
    ctx.spec["model"]["feature_norm"] = norm
    before, after = load_trained(small), starting_model(ctx.spec, ctx.parents)
    before.mixture.feature_norm = norm
    with torch.no_grad():
        expected, found = seen(before), seen(after)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for one, other in zip(after.llm.parameters(), before.llm.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_grown_model_learns_with_the_new_expert(make_context: Make, small: Path) -> None:
    ctx = make_context("large", encoders=LARGE, parents={"grown": small}, train=LEARNING, steps=3)
    train(ctx)
    start, end = starting_model(ctx.spec, ctx.parents), weights(ctx.work)
    new = slice(seen_channels(SMALL), None)
    first = start.projector.layers[0][0].weight
    assert not first[:, new].any()
    assert end["projector/layers.0.0.weight"][:, new].any()
    expert = dict(start.mixture.encoders[2].named_parameters())
    assert any(
        not torch.equal(tensor, end[f"encoder-eva02-micro_128/{name}"])
        for name, tensor in expert.items()
    )


def seen_channels(titles: tuple[str, ...]) -> int:
    return sum(shape[0] for title in titles for shape in registry.resolve(title).maps)


def test_the_expert_that_is_new_comes_from_its_pre_alignment(
    make_context: Make, small: Path
) -> None:
    alone = make_context("alone", "prealign", encoders=LARGE[2:], train=LEARNING, steps=2)
    train(alone)
    parents = {"grown": small, f"prealign:{LARGE[2]}": alone.commit()}
    model = starting_model(make_context("x", encoders=LARGE, parents=parents).spec, parents)
    aligned = weights(alone.work)
    for name, tensor in model.mixture.encoders[2].named_parameters():
        assert torch.equal(tensor, aligned[f"encoder-eva02-micro_128/{name}"])


@pytest.mark.parametrize("encoders", [LARGE[::-1], ("clip-micro@32",)])
def test_what_does_not_begin_as_the_smaller_one_is_refused(
    make_context: Make, small: Path, encoders: tuple[str, ...]
) -> None:
    ctx = make_context("other", encoders=encoders)
    with pytest.raises(UserError, match="does not begin as clip-micro@32\\+sam-micro@128"):
        starting_model(ctx.spec, {"grown": small})


GROWING = [name for name in fusion_zoo.names() if fusion_zoo.FUSIONS.says(name, "grows")]


@pytest.mark.parametrize("name", GROWING)
def test_a_fusion_that_says_it_grows_appends_channels_and_has_no_parameter(name: str) -> None:
    shapes = [
        fusion_zoo.MapShape(6, 3, 3),
        fusion_zoo.MapShape(4, 5, 5),
        fusion_zoo.MapShape(8, 2, 4),
    ]
    maps = [fusion_zoo.FeatureMap(torch.randn(2, *shape)) for shape in shapes]
    made = [fusion_zoo.build(name, shapes[:count], (4, 4)) for count in (1, 2, 3)]
    tokens: list[Any] = [fusion(maps[:count]) for count, fusion in enumerate(made, start=1)]
    for fewer, more in pairwise(tokens):
        for one, other in zip(fewer, more, strict=True):
            assert torch.equal(one, other[..., : one.shape[-1]])
    assert all(fusion.grows and not fusion.num_parameters for fusion in made)
