"""The whole, and as many tiles as a budget allows without changing its shape (InternLM-XComposer).

InternLM-XComposer2-4KHD and -2.5 (Dong et al. 2024, arXiv 2404.06512; Zhang et al. 2024, arXiv
2407.03320) and their code: an image is resized to as many tiles across its longer side as its shape
allows within the budget, without enlarging it by more than a part of a tile, and laid on a white
canvas from its upper left corner. All tiles are one map; a learnt token ends each row of it and of
the whole, another one parts the two.

Ours: both are learnt behind the connector; where tokens lie on no grid, as a resampler's, the
second one alone is there.
"""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import ClassVar

import numpy as np

from ._interface import Canvas, Grid, Order, Size, Tiling, grids, newlines, raster

SEPARATOR = -2


class InternlmXcomposer(Tiling):
    """The whole, stretched, a newline behind each row; a separator; the map of the tiles likewise.

    max_tiles: of a grid, the whole not counted (the published HD-25 is 25).
    tile: pixels of its side; 0 is the base encoder's resolution.
    """

    marks: ClassVar[tuple[str, ...]] = ("newline", "separator")
    fill: ClassVar[tuple[int, int, int]] = (255, 255, 255)

    def __init__(self, side: int, *, max_tiles: int = 25, tile: int = 0) -> None:
        super().__init__(tile or side)
        if max_tiles < 1:
            raise ValueError(f"at most {max_tiles} tiles; 1 or more")
        self.max_tiles, self.grids = max_tiles, grids(1, max_tiles)

    def canvases(self, size: Size) -> Sequence[Canvas]:
        longer, shorter = max(size), min(size)
        ratio, budget = longer / shorter, self.max_tiles
        across = max(n for n in range(1, budget + 1) if n == 1 or n * ceil(n / ratio) <= budget)
        across = min(across, ceil(longer / self.side))
        long = across * self.side
        short = max(1, int(long / ratio))
        down = ceil(short / self.side)
        image, tiles = (long, short), (across, down)
        if size[0] < size[1]:
            image, tiles = image[::-1], tiles[::-1]
        whole = tiles[0] * self.side, tiles[1] * self.side
        return [Canvas.stretched(self.side), Canvas(whole, tiles, image)]

    def largest(self) -> Iterable[Size]:
        return [(columns * self.side, rows * self.side) for columns, rows in self.grids]

    def order(self, size: Size, tokens: int, grid: Grid | None) -> Order:
        tiles = self.canvases(size)[1]
        if grid is None:
            rest = tokens + np.arange(tiles.num_tiles * tokens)
            return np.concatenate([np.arange(tokens), [SEPARATOR], rest])
        whole = np.arange(tokens).reshape(grid)
        return np.concatenate([newlines(whole), [SEPARATOR], newlines(raster(tiles, grid, tokens))])
