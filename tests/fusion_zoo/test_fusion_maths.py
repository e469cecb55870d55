"""Each fusion does the published sums, held against loops in float64 that share no code with it.

B batch, N tokens, C channels, H W grid. References work on one image, maps as arrays (C,H,W).
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fusion_toys import SHAPES, ToyBase, random_maps, scrambled
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import fusion_zoo
from fusion_zoo import FeatureMap, Fusion, MapShape
from fusion_zoo.llava_hr import align

Array = NDArray[np.float64]
sides = st.integers(1, 7)


def bilinear_at(x: Array, row: float, column: float, outside: str) -> Array:
    """(C,H,W) read between pixels; outside the map the nearest edge, or zero."""
    _, height, width = x.shape
    total = np.zeros(len(x))
    top, left = math.floor(row), math.floor(column)
    for y in (top, top + 1):
        for z in (left, left + 1):
            weight = (1 - abs(row - y)) * (1 - abs(column - z))
            if outside == "edge":
                total += weight * x[:, min(max(y, 0), height - 1), min(max(z, 0), width - 1)]
            elif 0 <= y < height and 0 <= z < width:
                total += weight * x[:, y, z]
    return total


def resized(x: Array, size: tuple[int, int], align_corners: bool) -> Array:
    def source(index: int, new: int, old: int) -> float:
        if align_corners:
            return index * (old - 1) / (new - 1) if new > 1 else 0.0
        return (index + 0.5) * old / new - 0.5

    out = np.empty((len(x), *size))
    for i in range(size[0]):
        for j in range(size[1]):
            row, column = source(i, size[0], x.shape[1]), source(j, size[1], x.shape[2])
            out[:, i, j] = bilinear_at(x, row, column, "edge")
    return out


def rows(x: Array) -> Array:
    return np.array([x[:, i, j] for i in range(x.shape[1]) for j in range(x.shape[2])])


def unrows(tokens: Array, grid: tuple[int, int]) -> Array:
    out = np.empty((tokens.shape[1], *grid))
    for index, token in enumerate(tokens):
        out[:, index // grid[1], index % grid[1]] = token
    return out


def array(x: torch.Tensor) -> Array:
    return np.asarray(x.detach().numpy(), dtype=np.float64)


def linear(x: Array, layer: nn.Module) -> Array:
    weight, bias = array(layer.weight), array(layer.bias)
    return x @ weight.reshape(weight.shape[:2]).T + bias


def norm(x: Array, layer: nn.Module) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * array(layer.weight) + array(layer.bias)


def norm_linear(x: Array, layers: nn.Sequential) -> Array:
    return linear(norm(x, layers[0]), layers[1])


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def exactly(name: str, shapes: Sequence[MapShape], grid: tuple[int, int], **o: object) -> Fusion:
    torch.manual_seed(0)
    return scrambled(fusion_zoo.build(name, shapes, grid, **o).double())


def images(maps: Sequence[FeatureMap]) -> list[list[Array]]:
    return [[array(m.tensor[b]) for m in maps] for b in range(len(maps[0].tensor))]


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides, st.booleans())
def test_maps_are_resized_as_by_hand(h: int, w: int, p: int, q: int, align_corners: bool) -> None:
    x = torch.randn(1, 2, h, w, dtype=torch.float64)
    given_map = fusion_zoo.resize_map(x, (p, q), align_corners=align_corners)
    np.testing.assert_allclose(
        array(given_map[0]), resized(array(x[0]), (p, q), align_corners), atol=1e-12
    )


def test_maps_are_resized_in_fp32_and_keep_their_type() -> None:
    x = torch.randn(1, 3, 5, 5).bfloat16()
    exact = fusion_zoo.resize_map(x.float(), (8, 9), align_corners=True)
    low = fusion_zoo.resize_map(x, (8, 9), align_corners=True)
    assert torch.equal(low, exact.bfloat16())
    assert fusion_zoo.resize_map(x, (5, 5), align_corners=True) is x


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("name", ["channel_concat", "sequence_append"])
def test_concat_and_append_are_resized_maps_side_by_side(name: str, align_corners: bool) -> None:
    fusion = exactly(name, SHAPES, (4, 6), align_corners=align_corners)
    maps = random_maps(SHAPES, torch.float64)
    tokens = fusion(maps)
    for b, image in enumerate(images(maps)):
        expected = [rows(resized(x, (4, 6), align_corners)) for x in image]
        if name == "channel_concat":
            expected = [np.concatenate(expected, axis=1)]
        for one, other in zip(tokens, expected, strict=True):
            np.testing.assert_allclose(array(one[b]), other, atol=1e-12)


def test_a_grid_written_as_a_list_is_a_grid() -> None:
    maps = random_maps(SHAPES[:2])
    fusion = fusion_zoo.build("channel_concat", SHAPES[:2], [4, 6])  # type: ignore[arg-type]
    assert torch.equal(fusion(maps)[0][..., :16], maps[0].tokens())


def test_antialiasing_filters_what_is_made_smaller() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(1, 1, 8, 8)
    (plain,) = fusion_zoo.build("channel_concat", [MapShape(1, 8, 16)], (4, 4))(
        [FeatureMap(stripes)]
    )
    (smooth,) = fusion_zoo.build("channel_concat", [MapShape(1, 8, 16)], (4, 4), antialias=True)(
        [FeatureMap(stripes)]
    )
    assert plain.abs().max() == 1
    assert smooth.abs().max() < 0.5


# --- Mini-Gemini ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "grid", "window", "expected_window"),
    [
        (SHAPES[:2], (4, 6), 0, (2, 2)),  # the published case: H = n * p
        (SHAPES[:2], (4, 3), 0, (2, 4)),
        (SHAPES, (4, 6), 0, (2, 2)),
        (SHAPES, (3, 5), 0, (3, 3)),  # 8 rows on 3: resized to 9
        (SHAPES[:3], (4, 6), 3, (3, 3)),
    ],
)
def test_mini_gemini_mines_each_tokens_own_window(
    shapes: list[MapShape], grid: tuple[int, int], window: int, expected_window: tuple[int, int]
) -> None:
    fusion = exactly("mini_gemini", shapes, grid, window=window)
    maps = random_maps(shapes, torch.float64)
    (tokens,) = fusion(maps)
    p, q = expected_window
    for b, (base, *further) in enumerate(images(maps)):
        coarse = resized(base, grid, False)
        fine = np.concatenate([resized(x, (grid[0] * p, grid[1] * q), False) for x in further])
        for r in range(grid[0]):
            for c in range(grid[1]):
                token = coarse[:, r, c]
                cells = rows(fine[:, r * p : r * p + p, c * q : c * q + q])
                query = norm_linear(token, fusion.query)
                logits = norm_linear(cells, fusion.key) @ query / math.sqrt(len(token))
                mined = softmax(logits) @ norm_linear(cells, fusion.value)
                np.testing.assert_allclose(
                    array(tokens[b, r * grid[1] + c]), token + mined, atol=1e-10
                )


def test_mini_gemini_windows_do_not_see_each_other() -> None:
    shapes = [MapShape(8, 2, 3), MapShape(4, 4, 9)]
    fusion = exactly("mini_gemini", shapes, (2, 3))
    maps = random_maps(shapes, torch.float64)
    before = fusion(maps)[0]
    maps[1].tensor[:, :, 2:4, 3:6] *= -1  # the window below token (1, 1)
    changed = (fusion(maps)[0] - before).abs().sum((0, 2)) > 0
    assert changed.tolist() == [False, False, False, False, True, False]


# --- deformable ----------------------------------------------------------------------------------


@pytest.mark.parametrize("experts", [2, 4])
@pytest.mark.parametrize("grid", [(4, 6), (5, 3)])
def test_deformable_reads_where_its_offsets_point(experts: int, grid: tuple[int, int]) -> None:
    heads, points, shapes = 4, 3, SHAPES[:experts]
    fusion = exactly("deformable", shapes, grid, heads=heads, points=points)
    with torch.no_grad():
        fusion.offsets.bias.normal_(std=2.0)  # some points fall outside
    maps = random_maps(shapes, torch.float64)
    (tokens,) = fusion(maps)
    levels, width = experts - 1, shapes[0].channels // heads
    for b, (base, *further) in enumerate(images(maps)):
        values = [
            unrows(linear(norm_linear(rows(x), level), fusion.value), x.shape[1:])
            for x, level in zip(further, fusion.levels, strict=True)
        ]
        for index, token in enumerate(rows(resized(base, grid, False))):
            centre = ((index % grid[1] + 0.5) / grid[1], (index // grid[1] + 0.5) / grid[0])
            query = norm_linear(token, fusion.query)
            offsets = linear(query, fusion.offsets).reshape(heads, levels, points, 2)
            weights = linear(query, fusion.weights).reshape(heads, levels * points)
            read = np.zeros(len(token))
            for m in range(heads):
                mine = slice(m * width, (m + 1) * width)
                share = softmax(weights[m]).reshape(levels, points)
                for level, value in enumerate(values):
                    for p in range(points):
                        x = centre[0] * value.shape[2] + offsets[m, level, p, 0] - 0.5
                        y = centre[1] * value.shape[1] + offsets[m, level, p, 1] - 0.5
                        seen = bilinear_at(value[mine], y, x, "zero")
                        read[mine] += share[level, p] * seen
            expected = token + linear(read, fusion.output)
            np.testing.assert_allclose(array(tokens[b, index]), expected, atol=1e-10)


def test_deformable_starts_with_the_published_directions_and_even_weights() -> None:
    fusion = fusion_zoo.build("deformable", SHAPES[:3], (4, 6))
    offsets = fusion.offsets.bias.reshape(8, 2, 4, 2)
    ring = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for m, direction in enumerate(ring):
        for level in range(2):
            for p in range(4):
                expected = [(p + 1) * side for side in direction]
                np.testing.assert_allclose(array(offsets[m, level, p]), expected, atol=1e-5)
    zero = [fusion.offsets.weight, fusion.weights.weight, fusion.weights.bias]
    zero += [fusion.value.bias, fusion.output.bias]
    assert all(not parameter.any() for parameter in zero)
    assert fusion.value.weight.abs().max() <= math.sqrt(6 / (2 * 16)) + 1e-6
    assert fusion.value.weight.std().item() == pytest.approx(math.sqrt(2 / (2 * 16)), rel=0.15)


# --- LLaVA-HR ------------------------------------------------------------------------------------


def aligned(x: Array, grid: tuple[int, int]) -> Array:
    """Means of the cells above each target along a finer axis, bilinear along a coarser one."""
    for axis, new in ((1, grid[0]), (2, grid[1])):
        old = x.shape[axis]
        if old > new:
            bins = [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
            means = [x.take(range(a, z), axis).mean(axis) for a, z in bins]
            x = np.stack(means, axis)
    return resized(x, grid, True)


def adapted(fast: Array, slow: Array, adapter: nn.Module) -> Array:
    _, height, width = fast.shape
    hidden = gelu(linear(rows(slow), adapter.slow_conv))
    proposed = aligned(unrows(linear(hidden, adapter.slow_proj), slow.shape[1:]), (height, width))
    kernel, padded = array(adapter.fast_conv.weight), np.pad(fast, ((0, 0), (3, 3), (3, 3)))
    local = np.empty_like(fast)
    for i in range(height):
        for j in range(width):
            local[:, i, j] = (kernel[:, 0] * padded[:, i : i + 7, j : j + 7]).sum((1, 2))
    local += array(adapter.fast_conv.bias)[:, None, None]
    fast = fast + unrows(linear(gelu(rows(local)), adapter.fast_proj), (height, width))
    summary = np.concatenate([rows(fast).mean(0), rows(proposed).mean(0)])
    gate = math.tanh(linear(gelu(linear(summary, adapter.gate[0])), adapter.gate[2]).item())
    return fast + gate * proposed


@pytest.mark.parametrize("experts", [2, 4])
@pytest.mark.parametrize("grid", [(4, 6), (5, 3)])
def test_llava_hr_adapts_after_each_quarter_and_aligns(experts: int, grid: tuple[int, int]) -> None:
    shapes = SHAPES[:experts]
    fusion = exactly("llava_hr", shapes, grid)
    base, maps = ToyBase(shapes[0]).double(), random_maps(shapes, torch.float64)
    (tokens,) = fusion(maps, base)
    for b, (_, *slow) in enumerate(images(maps)):
        state = array(base.start()[b])
        for block in range(8):
            state = state + np.tanh(linear(state, base.blocks[block]))
            if block in (1, 3, 5):
                x = unrows(state, (4, 6))
                for number, other in enumerate(slow):
                    place = (block // 2) * len(slow) + number
                    x = adapted(x, other, fusion.adapters[place])
                state = rows(x)
        final = linear(state, fusion.align_fast)
        for other, layer in zip(slow, fusion.align_slow, strict=True):
            final = final + linear(rows(aligned(other, (4, 6))), layer)
        expected = rows(resized(unrows(final, (4, 6)), grid, True))
        np.testing.assert_allclose(array(tokens[b]), expected, atol=1e-10)


@pytest.mark.parametrize("experts", [2, 3])
def test_llava_hr_starts_as_the_base_run_straight_through_and_aligned(experts: int) -> None:
    shapes = SHAPES[:experts]
    fusion, base = fusion_zoo.build("llava_hr", shapes, (4, 6)), ToyBase(shapes[0])
    maps = random_maps(shapes)
    expected = fusion.align_fast(base.straight())
    for layer, m in zip(fusion.align_slow, maps[1:], strict=True):
        expected = expected + layer(align(m.tensor, (4, 6)).flatten(2).transpose(1, 2))
    torch.testing.assert_close(fusion(maps, base)[0], expected, atol=1e-6, rtol=1e-5)
    tokens = base.start()
    for adapter, m in zip(fusion.adapters, maps[1:] * 3, strict=True):
        assert torch.equal(adapter(tokens, m.tensor, (4, 6)), tokens)


def test_llava_hrs_adapters_leave_the_identity_through_their_projections_first() -> None:
    fusion, base = fusion_zoo.build("llava_hr", SHAPES[:2], (4, 6)), ToyBase(SHAPES[0])
    fusion(random_maps(SHAPES[:2]), base)[0].square().sum().backward()
    for adapter in fusion.adapters:
        assert adapter.slow_proj.weight.grad.any()
        assert adapter.fast_proj.weight.grad.any()
        assert not adapter.slow_conv.weight.grad.any()
        assert adapter.slow_conv.weight.std().item() == pytest.approx(math.sqrt(2 / 24), rel=0.2)


@pytest.mark.parametrize("slow", [3, 6, 12, 24])
def test_llava_hr_aligns_square_grids_as_published(slow: int) -> None:
    x = torch.randn(2, 5, slow, slow)
    if slow > 6:
        expected = F.avg_pool2d(x, slow // 6, slow // 6)
    else:
        expected = F.interpolate(x, (6, 6), mode="bilinear", align_corners=True)
    torch.testing.assert_close(align(x, (6, 6)), expected)


@given(blocks=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_llava_hr_runs_every_block_once_in_quarters_as_even_as_can_be(blocks: int) -> None:
    shapes = [MapShape(2, 2, 2), MapShape(2, 2, 2)]
    base = ToyBase(shapes[0], num_blocks=blocks)
    fusion_zoo.build("llava_hr", shapes, (2, 2))(random_maps(shapes), base)
    sizes = [last - first for first, last in base.calls]
    assert [n for first, last in base.calls for n in range(first, last)] == list(range(blocks))
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 1
