"""What every tiling says. Imports no torch.

V views and U units of an image, L tokens of a unit, H W grid of these. A unit is what a connector
makes tokens of: a view, unless the tiling puts several on top of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

Size = tuple[int, int]
"""Width and height in pixels."""
Grid = tuple[int, int]
"""Rows and columns of tokens, row-major."""
Order: TypeAlias = "npt.NDArray[np.int64]"
"""Which tokens an image becomes, in order: numbers among those of its units, end to end; -1 is the
first of the tiling's `marks`, -2 the second."""


MOST_TILES = 1024
"""Of an image: a slip of the finger must not fill the memory of who only counts them. The largest
that is published has 55."""

MOST_PIXELS = 8192
"""Of a tile's side, for the same reason."""


class Canvas(NamedTuple):
    """An image resized and laid on a canvas, which is cut into tiles, row by row.

    size: of the canvas; tiles: columns and rows of it; image: the size it is resized to; corner:
    where its left and upper sides then are. What it leaves free is filled.
    """

    size: Size
    tiles: tuple[int, int]
    image: Size
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def stretched(cls, side: int, columns: int = 1, rows: int = 1) -> Canvas:
        """All of it covered by the image, whose shape is not kept."""
        size = columns * side, rows * side
        return cls(size, (columns, rows), size)

    @property
    def num_tiles(self) -> int:
        return self.tiles[0] * self.tiles[1]


class Tiling:
    """Which views of an image are looked at, and what order their tokens are read in.

    A subclass has `canvases` and `largest`, and options as keyword-only arguments; `side` is that
    of a view in pixels, the base encoder's resolution. Every encoder sees every view, resized to
    its own resolution. All views of all images are of one size.

    - `marks`: names of tokens of its own, learnt, that its `order` puts between the image's.
    - `fill`: the colour (red, green, blue) of what a canvas leaves free.
    - `fixed`: whether the views and their order are the same whatever size an image has.
    """

    marks: ClassVar[tuple[str, ...]] = ()
    fill: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    fixed: ClassVar[bool] = False

    def __init__(self, side: int) -> None:
        if side < 1:
            raise ValueError(f"a tile of {side} pixels a side; give 0 for the base encoder's")
        if side > MOST_PIXELS:
            raise ValueError(f"a tile of {side} pixels a side; {MOST_PIXELS} at most")
        self.side = side

    def canvases(self, size: Size) -> Sequence[Canvas]:
        """What is cut of an image of this size; its views are their tiles, in order."""
        raise NotImplementedError

    def largest(self) -> Iterable[Size]:
        """Sizes of images, among them those that become the most views, and the most tokens."""
        raise NotImplementedError

    def num_views(self, size: Size) -> int:
        """V, of an image of this size."""
        return sum(canvas.num_tiles for canvas in self.canvases(size))

    def num_units(self, size: Size) -> int:
        """U, of an image of this size."""
        return self.num_views(size)

    def order(self, size: Size, tokens: int, grid: Grid | None) -> Order:
        """What an image becomes, of whose units each becomes so many tokens, on a grid or on none.

        All of them, end to end, unless a subclass says otherwise.
        """
        import numpy as np  # not to count tokens, which a plan asks

        return np.arange(self.num_units(size) * tokens)

    def num_tokens(self, size: Size, tokens: int, grid: Grid | None) -> int:
        """How many tokens an image becomes; none where none is made of it, not even marks."""
        return len(self.order(size, tokens, grid)) if tokens else 0

    def most_tokens(self, tokens: int, grid: Grid | None) -> int:
        """How many tokens an image becomes at most."""
        return max(self.num_tokens(size, tokens, grid) for size in self.largest())

    def segments(
        self, made: Sequence[tuple[int, int]], grids: Sequence[Grid | None]
    ) -> Sequence[tuple[int, int]]:
        """The (tokens, channels) of each segment of a unit, where a fusion makes these of a view,
        each on a grid or on none. ValueError where it can do nothing with them."""
        return made

    def units(self, made: Sequence[Tensor], grids: Sequence[Grid | None]) -> Sequence[Tensor]:
        """The segments (U,N,C) of the units of all images, of those (V,N,C) of their views."""
        return made


class Whole(Tiling):
    """No tiling: one view, the image as it is, which each encoder resizes to its resolution."""

    fixed: ClassVar[bool] = True

    def canvases(self, size: Size) -> Sequence[Canvas]:
        return [Canvas(size, (1, 1), size)]

    def largest(self) -> Iterable[Size]:
        return [(self.side, self.side)]


def require_tiles(count: int) -> None:
    """ValueError for more tiles of an image than `MOST_TILES`."""
    if count > MOST_TILES:
        raise ValueError(f"{count} tiles of an image; {MOST_TILES} at most")


def grids(least: int, most: int) -> list[tuple[int, int]]:
    """All (columns, rows) of `least` to `most` tiles, those of few columns first."""
    require_tiles(most)
    sides = range(1, most + 1)
    return [(c, r) for c in sides for r in sides if least <= c * r <= most]


def newlines(tokens: Order) -> Order:
    """Rows of token numbers (H,W) end to end, the first mark behind each."""
    import numpy as np

    return np.pad(tokens, ((0, 0), (0, 1)), constant_values=-1).ravel()


def raster(canvas: Canvas, grid: Grid, first: int) -> Order:
    """The numbers of the tokens of a canvas's tiles as one map (rows*H, columns*W).

    grid: of each tile's tokens; first: the number of the first one.
    """
    import numpy as np

    (columns, rows), (height, width) = canvas.tiles, grid
    numbers = first + np.arange(canvas.num_tiles * height * width)
    tiles = numbers.reshape(rows, columns, height, width)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
