"""Fusions that bring maps to the language model's width themselves, against their formulas.

B batch, N tokens, C channels, H W grid, E experts, D width of the language model.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fusion_toys import LANGUAGE, SHAPES, build, random_maps, scrambled
from torch import Tensor, nn
from transformers.models.deepseek_vl_hybrid.configuration_deepseek_vl_hybrid import (
    DeepseekVLHybridConfig,
)
from transformers.models.deepseek_vl_hybrid.modeling_deepseek_vl_hybrid import (
    DeepseekVLHybridAligner,
)

from fusion_zoo import FeatureMap, MapShape, Segment
from fusion_zoo.connectors import CONNECTORS

GRID = (4, 6)
D = LANGUAGE.width


def made(name: str, count: int = 3, **options: Any) -> tuple[Any, list[FeatureMap], list[Tensor]]:
    """A fusion of so many maps, the maps, and their tokens (B,N,C) resized to the grid."""
    torch.manual_seed(0)
    fusion = scrambled(build(name, SHAPES[:count], GRID, **options))
    maps = random_maps(SHAPES[:count])
    resized = [F.interpolate(one.tensor, GRID, mode="bilinear", align_corners=True) for one in maps]
    return fusion, maps, [FeatureMap(one).tokens() for one in resized]


@torch.no_grad()
@pytest.mark.parametrize("norm", [False, True])
def test_interleave_takes_one_token_of_each_expert_in_turn(norm: bool) -> None:
    fusion, maps, resized = made("interleave", norm=norm)
    (tokens,) = fusion(maps)
    for number, (projector, own) in enumerate(zip(fusion.projectors, resized, strict=True)):
        first, inner, _, last = projector
        assert isinstance(first, nn.LayerNorm if norm else nn.Identity)
        torch.testing.assert_close(tokens[:, number::3], last(F.gelu(inner(first(own)))))
    assert fusion.grids == (None,)


@torch.no_grad()
def test_merv_sums_experts_by_what_a_query_finds_in_their_means() -> None:
    fusion, maps, _ = made("merv")
    values = []
    for projector, one in zip(fusion.projectors, maps, strict=True):
        pooled = F.adaptive_avg_pool2d(one.tensor, GRID)
        values.append(projector(FeatureMap(pooled).tokens()))
    attention = nn.MultiheadAttention(D, 1, batch_first=True)
    attention.in_proj_weight[:D] = fusion.query.weight
    attention.in_proj_bias[:D] = fusion.query.bias
    attention.in_proj_weight[D : 2 * D] = fusion.key.weight
    keys = torch.stack([one.mean(1) for one in values], dim=1)
    asking = fusion.asking.expand(2, 1, -1)
    weights = attention(asking, keys, keys, need_weights=True)[1][:, 0]
    expected = sum(weights[:, n, None, None] * one for n, one in enumerate(values))
    torch.testing.assert_close(fusion(maps)[0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


@torch.no_grad()
def test_merv_with_scalars_weighs_all_images_alike() -> None:
    fusion, maps, _ = made("merv", weights="scalar")
    weights = fusion.scalars.softmax(0)
    values = [
        projector(FeatureMap(F.adaptive_avg_pool2d(one.tensor, GRID)).tokens())
        for projector, one in zip(fusion.projectors, maps, strict=True)
    ]
    expected = sum(w * one for w, one in zip(weights, values, strict=True))
    torch.testing.assert_close(fusion(maps)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_deepseek_vl_with_the_connector_linear_is_its_aligner() -> None:
    config = DeepseekVLHybridConfig(
        text_config={"model_type": "llama", "hidden_size": D, "num_attention_heads": 2},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "num_attention_heads": 2,
        },
        high_res_vision_config={"model_type": "sam_vision_model", "output_channels": 4},
    )
    shapes = [MapShape(16, *GRID), MapShape(16, *GRID)]
    fusion = scrambled(build("deepseek_vl", shapes, GRID))
    connector = CONNECTORS.build("mlp", [Segment(24, D)], [GRID], D, depth=1)
    reference = DeepseekVLHybridAligner(config)
    high, low = fusion.projectors
    weights = {}
    for name, layer in (
        ("high_res_vision_proj", high),
        ("vision_proj", low),
        ("proj", connector.layers[0][0]),
    ):
        weights |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    reference.load_state_dict(weights, strict=True)
    maps = random_maps(shapes)
    above, below = (one.tokens() for one in maps)
    expected = reference(vision_encodings=below, high_res_vision_encodings=above)
    torch.testing.assert_close(connector(fusion(maps)), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_sphinx_puts_the_q_formers_tokens_first_and_norms_both() -> None:
    fusion, maps, resized = made("sphinx")
    asked, seen = fusion(maps)
    torch.testing.assert_close(asked, fusion.asked(fusion.former(maps[0].tokens())))
    torch.testing.assert_close(seen, fusion.seen(torch.cat(resized, dim=2)))
    for part in (fusion.asked, fusion.seen):
        assert [type(layer) for layer in part] == [nn.Linear, nn.LayerNorm]
    assert fusion.grids == (None, GRID)


@torch.no_grad()
def test_a_budget_is_the_mean_over_each_share_of_a_map() -> None:
    torch.manual_seed(0)
    fusion = build("expert_grids", SHAPES[:2], GRID, budgets="2x3,4x6")
    maps = random_maps(SHAPES[:2])
    first, second = fusion(maps)
    means = [
        maps[0].tensor[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3))
        for y in range(2)
        for x in range(3)
    ]
    torch.testing.assert_close(first, torch.stack(means, dim=1))
    assert fusion.segments == ((6, 16), (24, 12))
    assert fusion.grids == ((2, 3), (4, 6))
    assert second.shape == (2, 24, 12)
    whole = build("expert_grids", SHAPES, GRID)
    assert whole.grids == tuple(shape.grid for shape in SHAPES)
    for given, one in zip(whole(random := random_maps(SHAPES)), random, strict=True):
        assert torch.equal(given, one.tokens())


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        ("16", "neither own nor such as 16x16,8x8"),
        ("2xa,2x2", "neither own nor"),
        ("2x2", "not a grid for each of 2 maps"),
        ("2x2,0x2", "not a grid for each of 2 maps"),
    ],
)
def test_a_budget_that_is_none_is_one_line(budgets: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build("expert_grids", SHAPES[:2], GRID, budgets=budgets)


def test_weights_of_merv_that_there_are_not_are_one_line() -> None:
    with pytest.raises(ValueError, match="weights 'gate' are none of attention, scalar"):
        build("merv", SHAPES[:2], GRID, weights="gate")
