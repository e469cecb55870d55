"""Connectors without a reference at hand, against their papers' formulas, token by token.

Computed in float64, with loops in place of windows, heads and batches. B batch, N tokens, C
channels, D width of the language model.
"""

from collections.abc import Sequence
from math import cos, sin
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from connector_toys import asked, scrambled
from torch import Tensor

from fusion_zoo import Segment
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.connectors._interface import Grid

C, D = 12, 16


def ours(
    name: str, grids: Sequence[Grid | None], channels: Sequence[int] = (C,), **options: Any
) -> Any:
    """A connector in float64 with weights drawn anew, and tokens of one image for it."""
    torch.manual_seed(0)
    counts = [grid[0] * grid[1] if grid else 5 for grid in grids]
    segments = [Segment(*one) for one in zip(counts, channels, strict=True)]
    connector = CONNECTORS.build(name, segments, grids, D, **options).double()
    scrambled(connector)
    return connector, [torch.randn(1, *one, dtype=torch.double) for one in segments]


def attended(attention: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query (C) over keys and values (K,C), head by head."""
    q, k, v = attention.query(query), attention.key(keys), attention.value(values)
    width, found = len(q) // attention.heads, []
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        weights = torch.stack([q[part] @ one[part] for one in k]) / width**0.5
        found.append((weights.softmax(0)[:, None] * v[:, part]).sum(0))
    made: Tensor = attention.output(torch.cat(found))
    return made


def cell(token: Tensor, grid: Grid, y: int, x: int) -> Tensor:
    """The token of one image at a place; zero beyond the grid."""
    inside = y < grid[0] and x < grid[1]
    return token[0, y * grid[1] + x] if inside else torch.zeros_like(token[0, 0])


@torch.no_grad()
@pytest.mark.parametrize("mode", ["average", "maximum", "convolution"])
def test_pooling_makes_one_token_of_a_square(mode: str) -> None:
    grid = (4, 6)
    connector, (x,) = ours("pooling", [grid], mode=mode)
    own, rows = connector.layers[0], []
    for top in range(0, 4, 2):
        for left in range(0, 6, 2):
            cells = [cell(x, grid, top + dy, left + dx) for dy in (0, 1) for dx in (0, 1)]
            if mode == "convolution":
                kernel = own.convolution.weight.permute(2, 3, 0, 1).flatten(0, 1)
                pooled = own.convolution.bias + sum(
                    w @ c for w, c in zip(kernel, cells, strict=True)
                )
            elif mode == "average":
                pooled = sum(cells) / 4
            else:
                pooled = torch.stack(cells).max(0).values
            rows.append(own.layers(pooled))
    torch.testing.assert_close(connector([x])[0], torch.stack(rows))
    assert connector.grid == (2, 3)


@torch.no_grad()
def test_a_grid_that_is_no_multiple_is_filled_up_with_zeros_at_the_end() -> None:
    grid = (5, 4)
    connector, (x,) = ours("pixel_shuffle", [grid], style="xcomposer", size=3)
    rows = [
        torch.cat([cell(x, grid, top + dy, left + dx) for dy in range(3) for dx in range(3)])
        for top in (0, 3)
        for left in (0, 3)
    ]
    torch.testing.assert_close(connector([x])[0], connector.layers[0].layers(torch.stack(rows)))


@torch.no_grad()
def test_minigpt_v2_joins_four_tokens_of_a_row() -> None:
    connector, (x,) = ours("pixel_shuffle", [(3, 8)], style="minigpt_v2")
    joined = torch.stack([torch.cat(list(x[0, n : n + 4])) for n in range(0, 24, 4)])
    torch.testing.assert_close(connector([x])[0], connector.layers[0].layers(joined))
    assert connector.grid == (3, 2)


@torch.no_grad()
def test_lynx_reads_the_tokens_alone_with_latents_of_the_language_models_width() -> None:
    connector, (x,) = ours(
        "perceiver_resampler", [None], style="lynx", queries=3, depth=2, heads=2, head_width=5
    )
    own = connector.layers[0]
    latents = own.latents
    for layer in own.layers:
        keys = layer.token_norm(x[0])
        found = [attended(layer.attention, q, keys, keys) for q in layer.latent_norm(latents)]
        latents = latents + torch.stack(found)
        latents = latents + layer.feed(layer.feed_norm(latents))
    torch.testing.assert_close(connector([x])[0], own.norm(latents))


def sines(side: int, width: int) -> Tensor:
    """Of x first: sines, cosines; then of y."""
    rates = [10000.0 ** (-2 * i / (width / 2)) for i in range(width // 4)]
    rows = []
    for y in range(side):
        for x in range(side):
            row = [turn(p * rate) for p in (x, y) for turn in (sin, cos) for rate in rates]
            rows.append(torch.tensor(row, dtype=torch.double))
    return torch.stack(rows)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(2, 2), (3, 5)])
def test_the_2d_resampler_has_positions_on_queries_and_keys_but_not_on_values(grid: Grid) -> None:
    connector, (x,) = ours("resampler2d", [grid], queries=4, heads=2)
    own, table = connector.layers[0], sines(2, D)
    image = table.t().reshape(1, D, 2, 2)
    places = F.interpolate(image, grid, mode="bicubic", align_corners=False)[0].flatten(1).t()
    values = own.key_norm(own.reduce(x[0]))
    rows = [
        attended(own.attention, query + place, values + places, values)
        for query, place in zip(own.query_norm(own.queries), table, strict=True)
    ]
    expected = own.norm(torch.stack(rows)) @ own.projection
    torch.testing.assert_close(connector([x])[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("several", [False, True])
def test_token_packer_asks_the_window_of_a_coarse_token(several: bool) -> None:
    grid, size = (4, 6), 2
    grids, channels = ([grid] * 3, (C, 7, 9)) if several else ([grid], (C,))
    connector, given = ours("token_packer", grids, channels, size=size, inner=8, heads=2)
    coarse, fine = given[0], torch.cat(given[1:], dim=2) if several else given[0]
    rows = []
    for top in range(0, 4, size):
        for left in range(0, 6, size):
            inside = [(top + dy, left + dx) for dy in range(size) for dx in range(size)]
            mean = sum(cell(coarse, grid, *one) for one in inside) / 4  # bilinear, to the half
            window = torch.stack([cell(fine, grid, *one) for one in inside])
            query = connector.query_norm(connector.query(mean))
            found = attended(
                connector.attention, query, connector.key(window), connector.value(window)
            )
            rows.append(connector.read(found))
    torch.testing.assert_close(connector([*given])[0], torch.stack(rows))


@torch.no_grad()
def test_sva_asks_each_tower_at_the_querys_own_place() -> None:
    grids, channels = [(2, 3), (4, 3), (4, 6)], (C, 7, 9)
    connector, given = ours("sva", grids, channels, inner=8, heads=2, depth=2)
    assert connector.windows == ((1, 1), (2, 1), (2, 2))
    made = [tower(tokens) for tower, tokens in zip(connector.towers, given, strict=True)]
    context = made[0][0].mean(0)
    rows = []
    for top in range(2):
        for left in range(3):
            query = connector.query
            for layer in connector.layers:
                key, value = [], []
                for number, (tower, grid) in enumerate(zip(made, grids, strict=True)):
                    down, across = connector.windows[number]
                    cells = [
                        cell(tower, grid, top * down + dy, left * across + dx)
                        for dy in range(down)
                        for dx in range(across)
                    ]
                    if len(cells) > 1:
                        table = layer.places[str(number)]
                        cells = [one + place for one, place in zip(cells, table, strict=True)]
                    key += [layer.keys[number](one) for one in cells]
                    value += [layer.values[number](one) for one in cells]
                z = layer.enter(torch.cat([query, layer.context(context)]))
                asking = layer.query(z)
                found = []
                for head in (slice(0, 4), slice(4, 8)):
                    weights = torch.stack([asking[head] @ k[head] for k in key]) / 2
                    seen = torch.stack([v[head] for v in value])
                    found.append((weights.softmax(0)[:, None] * seen).sum(0))
                z = layer.norm(z + layer.output(torch.cat(found)))
                query = query + layer.leave(z)
            rows.append(connector.read(query))
    torch.testing.assert_close(connector([*given])[0], torch.stack(rows))


@torch.no_grad()
def test_sva_resizes_a_map_whose_sides_are_no_multiple() -> None:
    connector, (x, y) = ours("sva", [(2, 2), (3, 5)], (C, 6), inner=8, heads=2, depth=1)
    assert connector.windows == ((1, 1), (2, 2))
    image = y.transpose(1, 2).reshape(1, 6, 3, 5)
    resized = F.interpolate(image, (4, 4), mode="bilinear", align_corners=False)
    whole = CONNECTORS.build(
        "sva", [Segment(4, C), Segment(16, 6)], [(2, 2), (4, 4)], D, inner=8, heads=2, depth=1
    ).double()
    whole.load_state_dict(connector.state_dict())
    expected = whole([x, resized.flatten(2).transpose(1, 2)])
    torch.testing.assert_close(connector([x, y]), expected)


@torch.no_grad()
def test_meq_former_reads_all_experts_at_one_width_by_one_q_former() -> None:
    connector, given = ours(
        "meq_former", [None, (2, 3)], (C, 7), queries=2, inner=8, layers=3, heads=2
    )
    said = asked(1)
    said = said._replace(tokens=said.tokens[..., :D].double())
    entered = [layer(one) for layer, one in zip(connector.enter, given, strict=True)]
    expected = connector.read(connector.former(torch.cat(entered, dim=1), said))
    made = connector([*given], said)
    torch.testing.assert_close(made, expected)
    assert made.shape == (1, 4, D)
    other = said._replace(tokens=said.tokens.flip(1))
    assert not torch.allclose(connector([*given], other), made)


@torch.no_grad()
def test_mousi_joins_neighbours_and_shares_the_last_layer() -> None:
    connector, (x, y) = ours("mousi", [(2, 3), None], (C, 7), patches=4, inner=8)
    rows = []
    for tokens, layer in ((x, connector.own[0]), (y, connector.own[1])):
        kept = [*tokens[0], *(torch.zeros_like(tokens[0, 0]),) * 3]
        joined = [torch.cat(kept[n : n + 4]) for n in range(0, tokens.shape[1], 4)]
        rows += [connector.shared(F.gelu(layer(one))) for one in joined]
    torch.testing.assert_close(connector([x, y])[0], torch.stack(rows))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qformer", {"inner": 12, "layers": 1}),
        ("perceiver_resampler", {}),
        ("resampler2d", {}),
        ("d_abstractor", {"inner": 16}),
    ],
)
def test_queries_differ_from_the_start(name: str, options: dict[str, Any]) -> None:
    """Those that are alike would stay alike for ever."""
    torch.manual_seed(0)
    connector = CONNECTORS.build(name, [Segment(16, C)], [(4, 4)], D, **options)
    made = connector([torch.randn(1, 16, C)])[0]
    assert (made[1:] - made[:1]).abs().amax(1).min() > 1e-6
