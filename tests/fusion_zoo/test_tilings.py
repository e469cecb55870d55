"""Tilings: their published arithmetic, and what holds of every one there is."""

import subprocess
import sys
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.image_utils import SizeDict
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
from transformers.models.llava_next.image_processing_llava_next import LlavaNextImageProcessor
from transformers.models.llava_next.modeling_llava_next import unpad_image

from fusion_zoo import Segment
from fusion_zoo.tilings import TILINGS, Canvas, Tiling, Whole, assemble, cut, uncut
from fusion_zoo.tilings.s2 import stack_scales


def _paired(*columns):
    return list(zip(*columns, strict=True))


SIZES = [
    (336, 336),
    (640, 480),
    (1024, 1024),
    (1920, 1080),
    (1080, 1920),
    (3000, 500),
    (800, 1200),
    (200, 1000),
]
"""Widths and heights whose published counts are known."""
sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


def every_tiling(side: int) -> list[Tiling]:
    return [Whole(side), *(TILINGS.build(name, side) for name in TILINGS.names())]


@pytest.mark.parametrize(
    ("size", "grid", "tokens"),
    _paired(
        SIZES,
        [(1, 1), (4, 3), (3, 3), (4, 2), (2, 4), (6, 1), (2, 3), (1, 5)],
        [256, 3328, 2560, 2304, 2304, 1792, 1792, 1536],
    ),
)
def test_internvl_cuts_as_many_tiles_as_published(size, grid, tokens):
    tiling = TILINGS.build("internvl", 448)
    assert tiling.canvases(size)[0].tiles == grid
    assert tiling.num_tokens(size, 256, (16, 16)) == tokens


@pytest.mark.parametrize(
    ("size", "tiles", "tokens"),
    _paired(
        SIZES,
        [2, 4, 4, 4, 4, 3, 4, 3],
        [1176, 2340, 2928, 1948, 1968, 1452, 2160, 1656],
    ),
)
def test_anyres_has_as_many_tiles_and_tokens_as_published(size, tiles, tokens):
    tiling = TILINGS.build("anyres", 336)
    assert tiling.num_views(size) == tiles + 1
    assert tiling.num_tokens(size, 576, (24, 24)) == tokens


@pytest.mark.parametrize(
    ("size", "grid", "tokens"),
    _paired(
        SIZES,
        [(1, 1), (2, 2), (2, 2), (4, 3), (3, 4), (6, 1), (2, 3), (1, 2)],
        [841, 2061, 2061, 5281, 5301, 2841, 2881, 1261],
    ),
)
def test_xcomposer_has_as_many_tiles_and_tokens_as_published(size, grid, tokens):
    tiling = TILINGS.build("internlm_xcomposer", 560)
    assert tiling.canvases(size)[1].tiles == grid
    assert tiling.num_tokens(size, 400, (20, 20)) == tokens


@pytest.mark.parametrize(
    ("size", "grid"),
    _paired(SIZES, [(1, 1), (2, 2), (3, 2), (3, 2), (2, 3), (6, 1), (2, 3), (1, 3)]),
)
def test_llava_uhd_cuts_as_many_slices_as_published(size, grid):
    *_, last = TILINGS.build("llava_uhd", 336).canvases(size)
    assert last.tiles == grid


def test_monkey_sees_four_windows_and_the_whole():
    tiling = TILINGS.build("windows", 448)
    assert [canvas.size for canvas in tiling.canvases((640, 480))] == [(896, 896), (448, 448)]
    assert tiling.num_tokens((640, 480), 256, None) == 1280


@settings(max_examples=30)
@given(st.tuples(st.integers(20, 300), st.integers(20, 300)), st.booleans())
def test_internvl_gives_the_pixels_that_transformers_does(size, thumbnail):
    image = _drawn(size)
    reference = GotOcr2ImageProcessor().crop_image_to_patches(
        image[None],
        1,
        6,
        use_thumbnail=thumbnail,
        patch_size=SizeDict(height=32, width=32),
        resample=3,
    )
    views = cut(image, TILINGS.build("internvl", 32, max_tiles=6, thumbnail=thumbnail))
    assert torch.equal(views, reference[0])


@settings(max_examples=30)
@given(st.tuples(st.integers(20, 300), st.integers(20, 300)))
def test_anyres_gives_the_pixels_that_transformers_does(size):
    image, side = _drawn(size), 32
    points = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    reference = LlavaNextImageProcessor()._get_image_patches(image, points, (side, side), side, 3)
    assert torch.equal(cut(image, TILINGS.build("anyres", side)), torch.stack(reference))


@settings(max_examples=50)
@given(sizes)
def test_anyres_reads_the_tokens_that_transformers_packs(size):
    tiling = TILINGS.build("anyres", 336)
    columns, rows = tiling.canvases(size)[1].tiles
    tiles = torch.arange(576, 576 * (columns * rows + 1)).view(rows, columns, 24, 24)
    whole = tiles.permute(0, 2, 1, 3).reshape(1, rows * 24, columns * 24)
    kept = unpad_image(whole, size[::-1])[0]
    newline = torch.full((len(kept), 1), -1)
    packed = torch.cat([torch.arange(576), torch.cat([kept, newline], dim=1).flatten()])
    assert tiling.order(size, 576, (24, 24)).tolist() == packed.tolist()


@given(sizes)
def test_a_canvas_is_covered_by_its_tiles_and_holds_the_image(size):
    for tiling in every_tiling(32):
        for canvas in tiling.canvases(size):
            (wide, high), (left, top) = canvas.image, canvas.corner
            assert 0 < wide <= left + wide <= canvas.size[0]
            assert 0 < high <= top + high <= canvas.size[1]
            if not isinstance(tiling, Whole):
                assert canvas.size == tuple(32 * count for count in canvas.tiles)


@given(sizes, st.sampled_from([(16, (4, 4)), (6, (2, 3)), (5, None)]))
def test_no_image_becomes_more_than_what_a_plan_counts_on(size, unit):
    tokens, grid = unit
    for tiling in every_tiling(32):
        assert tiling.num_tokens(size, tokens, grid) <= tiling.most_tokens(tokens, grid)
        assert tiling.num_views(size) <= max(map(tiling.num_views, tiling.largest()))


@given(sizes, sizes)
def test_a_fixed_tiling_is_the_same_for_all_sizes(one, other):
    for tiling in (tiling for tiling in every_tiling(32) if tiling.fixed):
        assert tiling.num_views(one) == tiling.num_views(other)
        assert np.array_equal(tiling.order(one, 16, (4, 4)), tiling.order(other, 16, (4, 4)))


@given(sizes, st.sampled_from([(6, (2, 3)), (5, None)]))
def test_an_order_reads_each_token_once_at_most_and_only_marks_beside(size, unit):
    tokens, grid = unit
    for tiling in every_tiling(32):
        order = tiling.order(size, tokens, grid)
        own = order[order >= 0]
        assert len(np.unique(own)) == len(own)
        assert own.max() < tiling.num_units(size) * tokens
        assert order.min() >= -len(tiling.marks)


@settings(max_examples=20)
@given(st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_there_are_as_many_views_as_are_counted(size):
    image = _drawn(size)
    for tiling in every_tiling(16):
        views = cut(image, tiling)
        assert len(views) == tiling.num_views(size)
        assert views.dtype == torch.uint8
        square = (3, 16, 16) if not isinstance(tiling, Whole) else image.shape
        assert views.shape[1:] == square


def test_what_a_canvas_leaves_free_has_its_colour():
    black = torch.zeros(3, 60, 120, dtype=torch.uint8)
    views = cut(black, TILINGS.build("internlm_xcomposer", 50))
    assert views[:, 0, 0, 0].tolist() == [0] * len(views)
    assert views[-1, :, -1, -1].tolist() == [255, 255, 255]  # below the image, 150 by 75
    white = torch.full((3, 60, 100), 255, dtype=torch.uint8)
    assert cut(white, TILINGS.build("anyres", 50))[1, :, 0, 0].tolist() == [0, 0, 0]


def test_images_of_unlike_sizes_are_put_together_each_by_its_own_order():
    units = torch.arange(3 * 2.0).view(3, 2, 1)  # two units of the first image, one of the second
    marks = torch.tensor([[-1.0], [-2.0]])
    orders = [np.array([0, 3, -1]), np.array([-2, 1])]
    assert assemble(units, marks, [2, 1], orders).flatten().tolist() == [0, 3, -1, -2, 5]


def test_scales_are_put_together_as_maps_and_shrunk_by_the_mean_of_areas():
    torch.manual_seed(0)
    views = torch.randn(2 * (1 + 4 + 9), 6, 5, dtype=torch.float64)
    stacked = stack_scales(views, range(1, 4), (2, 3))
    assert stacked.shape == (2, 6, 15)
    for image, y, x, scale in np.ndindex(2, 2, 3, 3):
        side = scale + 1
        first = 14 * image + sum((k + 1) ** 2 for k in range(scale))
        total = torch.zeros(5, dtype=torch.float64)
        for down, across in np.ndindex(side, side):  # cells of the large map that fall in this one
            row, column = y * side + down, x * side + across
            tile = row // 2 * side + column // 3
            total += views[first + tile, row % 2 * 3 + column % 3]
        found = stacked[image, y * 3 + x, 5 * scale : 5 * (scale + 1)]
        torch.testing.assert_close(found, total / side**2)


def test_s2_gives_one_map_of_the_channels_of_all_scales():
    tiling, grids = TILINGS.build("s2", 32, scales=2), [(2, 2), (2, 2)]
    made = [Segment(4, 7), Segment(4, 3)]
    assert tiling.segments(made, grids) == [(4, 14), (4, 6)]
    views = [torch.randn(2 * 5, *segment) for segment in made]
    found = [tuple(one.shape) for one in tiling.units(views, grids)]
    assert found == [(2, 4, 14), (2, 4, 6)]
    assert tiling.num_tokens((64, 48), 8, None) == 8
    with pytest.raises(ValueError, match="this fusion makes none"):
        tiling.segments(made, [(2, 2), None])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("internvl", {"min_tiles": 3, "max_tiles": 2}, "from 3 to 2 tiles"),
        ("anyres", {"grids": ("2by1",)}, "'2by1' is no grid of tiles"),
        ("anyres", {"grids": ()}, "no grids"),
        ("internlm_xcomposer", {"max_tiles": 0}, "at most 0 tiles"),
        ("windows", {"rows": 0}, "0 rows of windows"),
        ("llava_uhd", {"max_slices": -1}, "at most -1 slices"),
        ("s2", {"scales": 0}, "0 scales"),
        ("internvl", {"max_tiles": 10**9}, "1000000000 tiles of an image; 1024 at most"),
        ("internlm_xcomposer", {"max_tiles": 10**9}, "1024 at most"),
        ("llava_uhd", {"max_slices": 10**9}, "1024 at most"),
        ("windows", {"columns": 10**9}, "1024 at most"),
        ("s2", {"scales": 10**9}, "1024 at most"),
        ("anyres", {"grids": ("2x1", "9999x9999")}, "1024 at most"),
        ("internvl", {"tile": -1}, "a tile of -1 pixels"),
        ("internvl", {"tile": 10**9}, "a tile of 1000000000 pixels a side; 8192 at most"),
        ("anyres", {"max_tiles": 4}, "has no option 'max_tiles'"),
    ],
)
def test_an_option_that_makes_no_sense_is_told(name, options, said):
    with pytest.raises(ValueError, match=said):
        TILINGS.build(name, 32, **options)


def test_naming_and_asking_a_tiling_needs_no_torch():
    program = """
import sys
from fusion_zoo.tilings import TILINGS
for name in TILINGS.names():
    assert TILINGS.describe(name)
    assert TILINGS.build(name, 32).most_tokens(16, (4, 4)) >= 16
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def _drawn(size: tuple[int, int]) -> torch.Tensor:
    draw = torch.Generator().manual_seed(prod(size))
    return torch.randint(256, (3, *size[::-1]), generator=draw, dtype=torch.uint8)


@settings(max_examples=10)
@given(sizes)
def test_what_views_say_of_places_is_one_map_of_the_image_by_areas(size):
    for tiling in every_tiling(28):
        canvases = tiling.canvases(size)
        views = torch.rand(tiling.num_views(size), 2, 3, dtype=torch.float64)
        united = uncut(views, canvases)
        height, width = united.shape
        expected = np.zeros((height, width))
        tiles = iter(views.numpy())
        for canvas in canvases:
            (columns, rows), (wide, high) = canvas.tiles, canvas.size
            for row, column in np.ndindex(rows, columns):
                for (i, j), value in np.ndenumerate(next(tiles)):
                    down = _within(i + 2 * row, high / (2 * rows), canvas, 1, height)
                    across = _within(
                        j + 3 * column, wide / (3 * columns), canvas, 0, len(united[0])
                    )
                    expected += value * np.outer(down, across)
        np.testing.assert_allclose(united, expected, atol=1e-9)
        if all(canvas.image == canvas.size for canvas in canvases):
            assert united.sum() == pytest.approx(views.sum())


def _within(cell: int, long: float, canvas: Canvas, axis: int, places: int) -> np.ndarray:
    """Which part of a cell of a canvas lies in each of so many places of the image in it."""
    edges = canvas.corner[axis] + np.linspace(0, canvas.image[axis], places + 1)
    inside = np.clip(edges, cell * long, (cell + 1) * long)
    return np.diff(inside) / long


def test_an_image_seen_whole_has_the_map_of_its_view():
    view = torch.rand(1, 3, 5)
    assert torch.equal(uncut(view, Whole(16).canvases((37, 23))), view[0])
