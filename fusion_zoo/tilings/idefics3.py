"""The whole, stretched, between marks of its own (Idefics3, without splitting).

Idefics3 (Laurencon et al. 2024, arXiv 2408.12637) and its code: the token around images, that of a
whole image, the image's tokens, the token around images again. Ours: an image is not split, which
the published model does with a newline of its language model behind each row of tiles.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from ._interface import Canvas, Grid, Order, Size, Tiling


class Idefics3(Tiling):
    """One view.

    tile: pixels of its side; 0 is the base encoder's resolution.
    """

    marks: ClassVar[tuple[str, ...]] = ("around", "whole")
    fixed: ClassVar[bool] = True

    def __init__(self, side: int, *, tile: int = 0) -> None:
        super().__init__(tile or side)

    def canvases(self, size: Size) -> Sequence[Canvas]:
        return [Canvas.stretched(self.side)]

    def largest(self) -> Iterable[Size]:
        return [(self.side, self.side)]

    def order(self, size: Size, tokens: int, grid: Grid | None) -> Order:
        return np.array([-1, -2, *range(tokens), -1])
