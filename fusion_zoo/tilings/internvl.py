"""As many tiles as fit the image's shape best, and the whole (InternVL).

InternVL 1.5 (Chen et al. 2024, arXiv 2404.16821), section 3.3, and its code: of all grids of at
most so many tiles the one of the nearest ratio of width to height; of equally near ones a larger
one while the image has more than half its pixels. Eagle 2 (Li et al. 2025, arXiv 2501.14818) gives
each tile to every encoder of a mixture, which here any tiling does.
"""

from collections.abc import Iterable, Sequence

from ._interface import Canvas, Size, Tiling, grids


class Internvl(Tiling):
    """Tiles row by row, then the whole, stretched; without a word between.

    min_tiles, max_tiles: of a grid, the whole not counted.
    thumbnail: whether the whole comes too, where there are several tiles.
    tile: pixels of its side; 0 is the base encoder's resolution.
    """

    def __init__(
        self,
        side: int,
        *,
        min_tiles: int = 1,
        max_tiles: int = 12,
        thumbnail: bool = True,
        tile: int = 0,
    ) -> None:
        super().__init__(tile or side)
        if not 1 <= min_tiles <= max_tiles:
            raise ValueError(f"from {min_tiles} to {max_tiles} tiles; from 1 to 12, say")
        self.thumbnail = thumbnail
        self.grids = sorted(grids(min_tiles, max_tiles), key=lambda grid: grid[0] * grid[1])

    def canvases(self, size: Size) -> Sequence[Canvas]:
        grid = self._grid(size)
        tiles = Canvas.stretched(self.side, *grid)
        alone = not self.thumbnail or grid == (1, 1)
        return [tiles] if alone else [tiles, Canvas.stretched(self.side)]

    def largest(self) -> Iterable[Size]:
        return [(columns * self.side, rows * self.side) for columns, rows in self.grids]

    def _grid(self, size: Size) -> tuple[int, int]:
        width, height = size
        best, least = self.grids[0], float("inf")
        for columns, rows in self.grids:
            off = abs(width / height - columns / rows)
            large = width * height > 0.5 * self.side**2 * columns * rows
            if off < least or (off == least and large):
                best, least = (columns, rows), off
        return best
