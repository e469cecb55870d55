"""Declared tokens, widths, parameters and FLOPs are the measured ones, at the paper's shapes too.

B batch, N tokens, C channels, H W grid.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import pytest
import torch
from fusion_toys import FUSIONS, SHAPES, TOKENS, ToyBase, Whole, build
from torch.utils.flop_counter import FlopCounterMode

import fusion_zoo
from fusion_zoo import FeatureMap, Fusion, MapShape

CLIP, CONVNEXT, SAM = MapShape(1024, 32, 32), MapShape(3072, 32, 32), MapShape(1024, 64, 64)
CASES = [
    (SHAPES[:1], (4, 6)),
    (SHAPES[:1], (5, 3)),
    (SHAPES[:2], (4, 6)),
    (SHAPES, (4, 6)),
    pytest.param(SHAPES, (5, 3), marks=pytest.mark.slow),
    ([CLIP, CONVNEXT], (32, 32)),
    ([CLIP, CONVNEXT, SAM], (32, 32)),
]


def per_value(operations: int) -> Callable[..., int]:
    def count(*_: Any, out_shape: Sequence[int], **__: Any) -> int:
        return operations * prod(out_shape)

    return count


INTERPOLATION = {
    torch.ops.aten.upsample_bilinear2d: per_value(8),
    torch.ops.aten.grid_sampler_2d: per_value(8 + 2),  # the attention weight is no matmul
}


def measured_flops(fusion: Fusion, base: ToyBase, maps: list[FeatureMap]) -> int:
    counter = FlopCounterMode(display=False, custom_mapping=INTERPOLATION)
    with counter:  # in which a view of a parameter needs its gradient
        Whole(fusion)(maps, base)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(("shapes", "grid"), CASES)
def test_declared_figures_are_the_measured_ones(
    name: str, shapes: list[MapShape], grid: tuple[int, int]
) -> None:
    with torch.device("meta"):
        fusion = build(name, shapes, grid)
        base = ToyBase(shapes[0], num_blocks=0, batch=1)
        maps = [FeatureMap(torch.empty(1, *shape)) for shape in shapes]
        given = Whole(fusion)(maps, base)
    assert [tuple(tokens.shape) for tokens in given] == Whole(fusion).declared(1)
    assert fusion.num_tokens == sum(tokens for tokens, _ in fusion.segments)
    declared = fusion.flops() + TOKENS * fusion.token_flops()
    assert declared == measured_flops(fusion, base, maps)


# The formulas of the papers' code, for two experts: base C on N cells, other K on S cells.
C, K, N = 1024, 3072, 1024
PUBLISHED = {
    "sequence_append": (0, 0),
    "channel_concat": (0, 0),
    "llava_hr": (
        3 * (K * K + K + K * C + C + 50 * C + C * C + C + C * C + C // 2 + C // 2 + 1)
        + (C * C + C + K * C + C),
        3 * (2 * N * (K * K + K * C) + 2 * 49 * N * C + 2 * N * C * C + 2 * C * C + C)
        + 2 * N * (C * C + K * C),
    ),
    "mini_gemini": (
        (2 * C + C * C + C) + 2 * (2 * K + K * C + C),
        2 * N * C * C + 4 * N * K * C + 4 * N * C,
    ),
    "deformable": (
        (2 * C + C * C + C) + (2 * K + K * C + C) + 2 * (C * C + C) + 3 * 8 * 4 * (C + 1),
        2 * N * C * C + 2 * N * K * C + 2 * N * C * C
        + 2 * N * C * 3 * 8 * 4 + 10 * N * 4 * C + 2 * N * C * C,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_paper_pair_costs_what_the_published_formulas_say(name: str) -> None:
    with torch.device("meta"):
        fusion = fusion_zoo.build(name, [CLIP, CONVNEXT], (32, 32))
    assert (fusion.num_parameters, fusion.flops()) == PUBLISHED[name]


def test_eagle_x4_is_1024_tokens_of_6656_channels() -> None:
    experts = [CLIP, CONVNEXT, MapShape(1024, 64, 64), MapShape(1536, 45, 45)]
    fusion = fusion_zoo.build("channel_concat", experts, (32, 32))
    assert fusion.segments == ((1024, 6656),)


def test_mini_gemini_of_one_key_says_what_learns_nothing() -> None:
    fusion = fusion_zoo.build("mini_gemini", [MapShape(8, 4, 4), MapShape(12, 4, 4)], (4, 4))
    maps = [FeatureMap(torch.randn(2, *shape)) for shape in fusion.shapes]
    (tokens,) = fusion(maps)
    tokens.square().sum().backward()
    idle = sum(p.numel() for p in fusion.parameters() if p.grad is None or not p.grad.any())
    (said,) = fusion.notes()
    assert f"({idle} parameters) get no gradient" in said
    assert "no map is finer than the 4x4 tokens" in said
    mined = fusion.value(maps[1].tokens())
    torch.testing.assert_close(tokens, maps[0].tokens() + mined)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_whose_every_part_has_an_effect_says_nothing(name: str) -> None:
    assert build(name, SHAPES, (4, 6)).notes() == []
    assert build(name, SHAPES[:1], (4, 6)).notes() == []


def test_a_window_of_one_key_by_choice_is_told_too() -> None:
    (said,) = fusion_zoo.build("mini_gemini", SHAPES, (4, 6), window=1).notes()
    assert "`window` is 1" in said


def test_mini_gemini_of_the_stages_of_convnext_is_the_published_one() -> None:
    stages = [MapShape(1536, 24, 24), MapShape(768, 48, 48), MapShape(384, 96, 96)]
    with torch.device("meta"):
        shapes = [MapShape(1024, 24, 24), *stages, MapShape(192, 192, 192)]
        fusion = fusion_zoo.build("mini_gemini", shapes, (24, 24))
    assert fusion.window == (8, 8)
    assert fusion.key[1].weight.shape == (1024, 2880)
    assert fusion.notes() == []


def test_mini_gemini_as_published_has_64_keys_a_query() -> None:
    experts = [MapShape(1024, 24, 24), MapShape(2880, 192, 192)]
    with torch.device("meta"):
        fusion = fusion_zoo.build("mini_gemini", experts, (24, 24))
    n, p, c, ca = 576, 8, 1024, 2880
    published = 2 * n * c * c + 4 * n * p**2 * ca * c + 4 * n * p**2 * c
    assert fusion.flops() == published
