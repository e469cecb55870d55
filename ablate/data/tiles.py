"""How a model looks at images: which views are cut of each, and how many tokens each becomes.

Shapes: I images, V views, H W pixels, S pixels of a view's side.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fusion_zoo.tilings import Grid, Order, Size, Tiling, Whole, cut

Sizes = npt.NDArray[np.int64]
"""Width and height of each image, (I,2)."""


class Cut(NamedTuple):
    """How images are cut, each on its own."""

    views: list[int]
    units: list[int]
    orders: list[Order]


class Tiles:
    """A tiling whose units become so many tokens each, on a grid (rows, columns) or on none.

    `runs`: into how many an image's tokens are cut, of which the language model reads the first in
    its context; 0: none.
    """

    def __init__(
        self, tiling: Tiling, tokens: int, grid: Grid | None = None, runs: int = 1
    ) -> None:
        self.tiling, self.tokens, self.grid, self.runs = tiling, tokens, grid, runs
        self._orders = dict[Size, Order]()

    @classmethod
    def whole(cls, tokens: int) -> "Tiles":
        """Images are seen whole, and each becomes so many tokens."""
        return cls(Whole(1), tokens)

    @property
    def cuts(self) -> bool:
        """Whether an image is cut at all; it is given as it is otherwise."""
        return not isinstance(self.tiling, Whole)

    @cached_property
    def most(self) -> int:
        """How many tokens of the context an image becomes at most."""
        return self.in_context(self.tiling.most_tokens(self.tokens, self.grid))

    def in_context(self, tokens: int) -> int:
        """How many of an image's tokens stand in the context, the first of them."""
        return tokens // self.runs if self.runs else 0

    def count(self, size: Size) -> int:
        """How many tokens of the context an image of this size becomes."""
        return self.in_context(len(self.order(size)))

    def order(self, size: Size) -> Order:
        """Which tokens of its units an image of this size becomes."""
        key = (1, 1) if self.tiling.fixed else size
        if key not in self._orders:
            made = self.tiling.order(key, self.tokens, self.grid)
            self._orders[key] = made if self.tokens else made[:0]
        return self._orders[key]

    def counts(self, sizes: Sizes) -> npt.NDArray[np.int64]:
        """How many tokens of the context each image becomes, (I,)."""
        return _of_each(sizes, self.count)

    def num_views(self, sizes: Sizes) -> npt.NDArray[np.int64]:
        """How many views each image has, (I,)."""
        return _of_each(sizes, self.tiling.num_views)

    def lengths(self, images: int, sizes: Tensor | None) -> Tensor:
        """How many tokens of the context each of so many images becomes, (I,); sizes (I,2), if they
        are cut."""
        if self.tiling.fixed:
            return torch.full((images,), self.most)
        return torch.from_numpy(self.counts(_given(sizes).numpy()))

    def visual(self, images: int, sizes: Tensor | None) -> list[int]:
        """How many visual tokens each of them becomes, in the context or not."""
        if self.tiling.fixed:
            return [self.tiling.most_tokens(self.tokens, self.grid)] * images
        return [len(self.order((width, height))) for width, height in _given(sizes).tolist()]

    def cut(self, sizes: Tensor | None) -> Cut:
        """How images of these widths and heights (I,2) are cut; None: there are no images."""
        whole = [(width, height) for width, height in _given(sizes).tolist()]
        return Cut(
            [self.tiling.num_views(size) for size in whole],
            [self.tiling.num_units(size) for size in whole],
            [self.order(size) for size in whole],
        )

    def views(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The views (V,3,S,S) of an image (3,H,W)."""
        return cut(torch.from_numpy(image), self.tiling).numpy()


def _given(sizes: Tensor | None) -> Tensor:
    return torch.ones(0, 2, dtype=torch.int64) if sizes is None else sizes


def _of_each(sizes: Sizes, count: Callable[[Size], int]) -> npt.NDArray[np.int64]:
    """A number of each image, which is asked once of each size."""
    unlike, which = np.unique(sizes, axis=0, return_inverse=True)
    numbers = [count((width, height)) for width, height in unlike.tolist()]
    return np.array(numbers, dtype=np.int64)[which.ravel()]
