"""The whole, and slices as many as its pixels need, of its shape (LLaVA-UHD).

LLaVA-UHD (Guo et al. 2024, arXiv 2403.11703) and its code choose the grid: as many slices as the
image has times the encoder's pixels, or one more or less, in the grid whose logarithm of width by
height is nearest. A comma parts slices, a newline ends each row of them.

Ours: comma and newline are learnt tokens, not words; each slice is stretched to the encoders'
square, which keep their own number of patches, where the published encoder sees it in its shape.
"""

from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import ClassVar

import numpy as np

from ._interface import Canvas, Grid, Order, Size, Tiling, grids

NEWLINE, COMMA = -1, -2


class LlavaUhd(Tiling):
    """The whole, then slices row by row, a comma or newline behind each; small images whole alone.

    max_slices: of an image, the whole not counted.
    tile: pixels of a slice's side; 0 is the base encoder's resolution.
    """

    marks: ClassVar[tuple[str, ...]] = ("newline", "comma")

    def __init__(self, side: int, *, max_slices: int = 6, tile: int = 0) -> None:
        super().__init__(tile or side)
        if max_slices < 1:
            raise ValueError(f"at most {max_slices} slices; 1 or more")
        self.max_slices, self.grids = max_slices, grids(1, max_slices)

    def canvases(self, size: Size) -> Sequence[Canvas]:
        whole, grid = Canvas.stretched(self.side), self._grid(size)
        return [whole] if grid == (1, 1) else [whole, Canvas.stretched(self.side, *grid)]

    def largest(self) -> Iterable[Size]:
        return [(columns * self.side, rows * self.side) for columns, rows in self.grids]

    def order(self, size: Size, tokens: int, grid: Grid | None) -> Order:
        _, *slices = self.canvases(size)
        parts = [np.arange(tokens)]
        for canvas in slices:
            columns, rows = canvas.tiles
            numbers = tokens + np.arange(rows * columns * tokens).reshape(rows, columns, tokens)
            ends = np.full((rows, columns, 1), COMMA)
            ends[:, -1] = NEWLINE
            parts.append(np.concatenate([numbers, ends], axis=2).ravel())
        return np.concatenate(parts)

    def _grid(self, size: Size) -> tuple[int, int]:
        width, height = size
        count = min(ceil(width * height / self.side**2), self.max_slices)
        if count <= 1:
            return 1, 1
        fitting = [
            (columns, slices // columns)
            for slices in (count - 1, count, count + 1)
            if 1 < slices <= self.max_slices
            for columns in range(1, slices + 1)
            if slices % columns == 0
        ]
        return min(fitting, key=lambda grid: abs(log(width / height) - log(grid[0] / grid[1])))
