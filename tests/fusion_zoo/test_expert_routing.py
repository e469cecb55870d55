"""Routing by image and instruction: the adapter's blocks in float64 loops, and who counts when."""

from itertools import combinations
from math import cos, erf, exp, sin, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from fusion_toys import LANGUAGE, SHAPES
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import fusion_zoo
from fusion_zoo import FeatureMap, Fusion, Instruction, MapShape
from fusion_zoo.expert_routing import ExpertRouting, RoutedBlock

Weights = dict[str, np.ndarray]
GRID = (2, 3)


def built(shapes: list[MapShape] = SHAPES, **options: Any) -> ExpertRouting:
    torch.manual_seed(0)
    small = {"heads": 2, "head_width": 8}
    fusion = fusion_zoo.build("expert_routing", shapes, GRID, LANGUAGE, **small | options)
    assert isinstance(fusion, ExpertRouting)
    return fusion


def scrambled(fusion: Fusion) -> Fusion:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return fusion


def maps_of(shapes: list[MapShape] = SHAPES, batch: int = 2) -> list[FeatureMap]:
    draw = torch.Generator().manual_seed(2)
    return [FeatureMap(torch.randn(batch, *shape, generator=draw)) for shape in shapes]


def said(batch: int = 2) -> Instruction:
    tokens = torch.randn(batch, 3, LANGUAGE.width, generator=torch.Generator().manual_seed(3))
    return Instruction(tokens, torch.ones(batch, 3, dtype=torch.bool))


def linear(x: np.ndarray, layer: Weights, name: str) -> np.ndarray:
    return x @ layer[f"{name}.weight"].T + layer.get(f"{name}.bias", 0.0)


def norm(x: np.ndarray, layer: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * layer[f"{name}.weight"] + layer[f"{name}.bias"]


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def turned(vector: np.ndarray, row: int, column: int) -> np.ndarray:
    """A head's channels, two by two: the first half by the row, the second by the column."""
    half = len(vector) // 2
    result = vector.copy()
    for start, place in ((0, row), (half, column)):
        for pair in range(half // 2):
            angle = place / 1e4 ** (2 * pair / half)
            a, b = vector[start + 2 * pair : start + 2 * pair + 2]
            result[start + 2 * pair] = a * cos(angle) - b * sin(angle)
            result[start + 2 * pair + 1] = a * sin(angle) + b * cos(angle)
    return result


def attention(
    x: np.ndarray, seen: np.ndarray, layer: Weights, name: str, width: int, heads: int
) -> np.ndarray:
    """(N,C) against (N,V) of a grid `width` wide, one head and one query at a time."""
    query, key, value = (
        source @ layer[f"{name}.{part}.weight"].T
        for part, source in (("query", x), ("key", seen), ("value", seen))
    )
    size = query.shape[1] // heads
    found = np.zeros_like(query)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        keys = [turned(key[n, part], n // width, n % width) for n in range(len(x))]
        for n in range(len(x)):
            own = turned(query[n, part], n // width, n % width)
            weights = softmax(np.array([own @ other for other in keys]) / sqrt(size))
            found[n, part] = weights @ value[:, part]
    return linear(norm(found, layer, f"{name}.norm"), layer, f"{name}.output")


def reference(
    block: RoutedBlock, x: np.ndarray, experts: list[np.ndarray], asked: np.ndarray, width: int
) -> np.ndarray:
    layer = {name: tensor.double().numpy() for name, tensor in block.state_dict().items()}
    heads = block.attend.heads
    hidden = linear(np.concatenate([asked, x.mean(0)]), layer, "gate.0")
    hidden = np.array([v * 0.5 * (1 + erf(v / sqrt(2))) for v in hidden])
    share = softmax(linear(hidden, layer, "gate.2"))
    best = set(np.argsort(-share)[: block.keep])
    total = sum(share[number] for number in best)
    added = np.zeros_like(x)
    for number in best:
        seen = norm(experts[number], layer, f"seen.{number}")
        mine = norm(x, layer, f"queried.{number}")
        looked = attention(mine, seen, layer, f"look.{number}", width, heads)
        added += share[number] / total * looked
    x = x + added
    normed = norm(x, layer, "norm")
    x = x + attention(normed, normed, layer, "attend", width, heads)
    normed = norm(x, layer, "mix.norm")
    gate = linear(normed, layer, "mix.gate")
    gated = np.vectorize(lambda v: v / (1 + exp(-v)))(gate) * linear(normed, layer, "mix.inner")
    return x + linear(norm(gated, layer, "mix.hidden_norm"), layer, "mix.output")


def test_a_block_is_what_its_maths_says() -> None:
    fusion = scrambled(built(blocks=1, keep=2)).double()
    [block] = fusion.blocks
    assert isinstance(block, RoutedBlock)
    base = SHAPES[0]
    draw = torch.Generator().manual_seed(4)
    sizes = [(1, base.tokens, shape.channels) for shape in SHAPES]
    tokens, *experts = (torch.randn(size, generator=draw).double() for size in sizes)
    asked = torch.randn(1, LANGUAGE.width, generator=draw).double()
    found = block(tokens, experts, asked, base.grid)[0]
    expected = reference(
        block,
        tokens[0].numpy(),
        [expert[0].numpy() for expert in experts],
        asked[0].numpy(),
        base.width,
    )
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def pooled(fusion: Fusion, maps: list[FeatureMap]) -> Tensor:
    return fusion(maps, None, said(len(maps[0].tensor)))[0]


def test_at_first_the_tokens_are_the_bases_pooled_and_all_experts_weigh_the_same() -> None:
    fusion, maps = built(keep=3), maps_of()
    expected = torch.nn.functional.adaptive_avg_pool2d(maps[0].tensor, GRID)
    torch.testing.assert_close(pooled(fusion, maps), FeatureMap(expected).tokens())
    weights = fusion.blocks[0].weights(maps[0].tokens(), said().pooled())
    torch.testing.assert_close(weights, torch.full((2, 3), 1 / 3))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_what_is_not_kept_has_no_influence_and_the_rest_weighs_one(keep: int) -> None:
    fusion, maps = scrambled(built(blocks=1, keep=keep)), maps_of()
    weights = fusion.blocks[0].weights(maps[0].tokens() + fusion.positions, said().pooled())
    assert ((weights > 0).sum(dim=1) == keep).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    before = pooled(fusion, maps)
    for number in range(3):
        changed = [FeatureMap(one.tensor + 7 * (n == number + 1)) for n, one in enumerate(maps)]
        changed[number + 1] = FeatureMap(torch.randn_like(maps[number + 1].tensor))
        same = (pooled(fusion, changed) == before).flatten(1).all(dim=1)
        assert same.tolist() == (weights[:, number] == 0).tolist()


def test_another_instruction_chooses_otherwise() -> None:
    fusion, maps = scrambled(built(blocks=1, keep=1)), maps_of(batch=16)
    weights = fusion.blocks[0].weights(maps[0].tokens()[:1].expand(16, -1, -1), said(16).pooled())
    assert (weights > 0).any(dim=0).sum() > 1


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    fusion, maps = scrambled(built()), maps_of()
    alone = [FeatureMap(one.tensor[1:]) for one in maps]
    asked = said()
    single = fusion(alone, None, Instruction(asked.tokens[1:], asked.mask[1:]))[0]
    torch.testing.assert_close(single, pooled(fusion, maps)[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"heads": 0}, {"keep": 0}, {"blocks": 0}, {"head_width": 6}])
def test_what_cannot_be_is_said_when_it_is_built(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"blocks, . kept, . heads of width ."):
        built(**options)


@pytest.mark.parametrize("keep", [1, 2])
def test_of_experts_that_are_named_the_dearest_are_the_declared_work(keep: int) -> None:
    shapes = [MapShape(shape.channels, 4, 6) for shape in SHAPES]
    fusion = fusion_zoo.build(
        "coarse_to_fine", shapes, GRID, LANGUAGE, heads=2, head_width=8, keep=keep
    ).eval()
    maps, most = maps_of(shapes, batch=1), 0
    for chosen in combinations(range(3), keep):
        named = torch.zeros(1, 3, dtype=torch.bool)
        named[0, list(chosen)] = True
        with torch.no_grad(), FlopCounterMode(display=False) as count:
            for some in (torch.zeros_like(named), named):
                fusion(maps, None, said(1), some)
            fusion.scores(fusion.question().mean(0, keepdim=True))
        most = max(most, count.get_total_flops())
    assert fusion.named_flops() == most


def test_experts_that_are_not_chosen_make_no_difference_and_without_any_none_does() -> None:
    fusion = scrambled(fusion_zoo.build("coarse_to_fine", SHAPES, GRID, LANGUAGE, heads=2)).eval()
    maps = maps_of()
    chosen = torch.tensor([[True, False, True], [False, False, False]])
    other = [maps[0], *(FeatureMap(torch.randn_like(one.tensor)) for one in maps[1:])]
    shown = [
        FeatureMap(torch.where(keep[:, None, None, None], one.tensor, new.tensor))
        for keep, one, new in zip(
            torch.cat([torch.ones(2, 1).bool(), chosen], 1).T, maps, other, strict=True
        )
    ]
    first, second = (fusion(given, None, said(), chosen)[0] for given in (maps, shown))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(fusion.train()(maps, None, said(), chosen)[0], first)
    assert not torch.allclose(fusion(maps, None, said())[0], first)
