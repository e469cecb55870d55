"""Always the same windows of the image stretched to a square, and the whole (Monkey).

Monkey (Li et al. 2023, arXiv 2311.06607) and its code: four windows of 448 pixels of the image at
896, row by row, then the whole at 448. Ours: the encoders' weights are the same for all windows,
where the published model has a LoRA of its own for each.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from ._interface import Canvas, Size, Tiling, require_tiles


class Windows(Tiling):
    """Windows row by row, then the whole; without a word between.

    columns, rows: of windows.
    tile: pixels of a window's side; 0 is the base encoder's resolution.
    """

    fixed: ClassVar[bool] = True

    def __init__(self, side: int, *, columns: int = 2, rows: int = 2, tile: int = 0) -> None:
        super().__init__(tile or side)
        if min(columns, rows) < 1:
            raise ValueError(f"{columns} columns and {rows} rows of windows; 1 or more of each")
        require_tiles(columns * rows)
        self.shape = columns, rows

    def canvases(self, size: Size) -> Sequence[Canvas]:
        return [Canvas.stretched(self.side, *self.shape), Canvas.stretched(self.side)]

    def largest(self) -> Iterable[Size]:
        return [(self.side, self.side)]
