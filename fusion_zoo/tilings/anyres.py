"""The whole, and tiles of a canvas that it fills best without changing its shape (LLaVA-NeXT).

LLaVA-NeXT (Liu et al. 2024), its code and that of transformers: of the given grids the one on which
the image, resized to fit, shows most of its pixels; of such the one with the least canvas left
free. The tiles' tokens are put together to one map, the tokens of the canvas around the image are
taken out ("unpad"), and a learnt token ends each row.

Ours: where tokens lie on no grid, as a resampler's, all are read end to end (LLaVA's "flat").
"""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import ClassVar

import numpy as np

from ._interface import Canvas, Grid, Order, Size, Tiling, newlines, raster, require_tiles


class Anyres(Tiling):
    """The whole, stretched, then the map of all tiles, a newline behind each of its rows.

    grids: of tiles, as columns x rows; of equally good ones the first counts.
    unpad: leave out the tokens of what the image does not cover.
    newline: end rows with the learnt token.
    tile: pixels of its side; 0 is the base encoder's resolution.
    """

    marks: ClassVar[tuple[str, ...]] = ("newline",)

    def __init__(
        self,
        side: int,
        *,
        grids: tuple[str, ...] = ("2x1", "1x2", "2x2", "1x3", "3x1"),
        unpad: bool = True,
        newline: bool = True,
        tile: int = 0,
    ) -> None:
        super().__init__(tile or side)
        if not grids:
            raise ValueError("no grids of tiles; one or more, as 2x1")
        self.unpad, self.newline = unpad, newline
        self.grids = [_numbers(grid) for grid in grids]
        require_tiles(max(columns * rows for columns, rows in self.grids))

    def canvases(self, size: Size) -> Sequence[Canvas]:
        (width, height), (columns, rows) = size, self._grid(size)
        wide, high = columns * self.side, rows * self.side
        across, down = wide / width, high / height
        fitted = (
            (wide, min(ceil(height * across), high))
            if across < down
            else (min(ceil(width * down), wide), high)
        )
        corner = (wide - fitted[0]) // 2, (high - fitted[1]) // 2
        return [
            Canvas.stretched(self.side),
            Canvas((wide, high), (columns, rows), fitted, corner),
        ]

    def largest(self) -> Iterable[Size]:
        return [(columns * self.side, rows * self.side) for columns, rows in self.grids]

    def order(self, size: Size, tokens: int, grid: Grid | None) -> Order:
        if grid is None:
            return super().order(size, tokens, grid)
        canvas = self.canvases(size)[1]
        tiles = raster(canvas, grid, tokens)
        if self.unpad:
            tiles = _covered(tiles, canvas, size)
        return np.concatenate(
            [np.arange(tokens), newlines(tiles) if self.newline else tiles.ravel()]
        )

    def _grid(self, size: Size) -> tuple[int, int]:
        width, height = size
        shown, best = (0, float("-inf")), self.grids[0]
        for columns, rows in self.grids:
            wide, high = columns * self.side, rows * self.side
            scale = min(wide / width, high / height)
            pixels = min(int(width * scale) * int(height * scale), width * height)
            if (pixels, pixels - wide * high) > shown:
                shown, best = (pixels, pixels - wide * high), (columns, rows)
        return best


def _covered(tokens: Order, canvas: Canvas, size: Size) -> Order:
    """The part of a canvas's map (H,W) that an image of this size covers, in its middle."""
    (width, height), (rows, columns) = size, tokens.shape
    cell = (columns / canvas.size[0]) / (rows / canvas.size[1])  # 1: as high as wide
    if width / height > columns / rows / cell:
        free = (rows - int(round(height * (columns / width) / cell, 7))) // 2
        return tokens[free : rows - free]
    free = (columns - int(round(width * (rows / height) * cell, 7))) // 2
    return tokens[:, free : columns - free]


def _numbers(grid: str) -> tuple[int, int]:
    columns, _, rows = grid.partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and int(columns) * int(rows)):
        raise ValueError(f"'{grid}' is no grid of tiles: columns x rows, as 2x1")
    return int(columns), int(rows)
