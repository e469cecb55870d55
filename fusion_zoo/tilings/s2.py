"""The image at several scales, whose maps are one map with the channels of all (S2).

S2 (Shi et al. 2024, arXiv 2403.13043), as in VILA: at scale k the image is k x k tiles, whose maps
are put together and shrunk to the first scale's size by the mean of areas; the channels of all
scales are concatenated. So an image becomes no more tokens, of more channels.

Ours: of a mixture it is the fused map that is put together; the image is resized antialiased.

V views of I images, N tokens of a map, H W grid of them, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from ._interface import Canvas, Grid, Size, Tiling, require_tiles

if TYPE_CHECKING:
    from torch import Tensor


class S2(Tiling):
    """One map with the channels of all scales, the smallest first.

    scales: how many; the largest has so many tiles a side.
    tile: pixels of a tile's side; 0 is the base encoder's resolution.
    """

    fixed: ClassVar[bool] = True

    def __init__(self, side: int, *, scales: int = 3, tile: int = 0) -> None:
        super().__init__(tile or side)
        if scales < 1:
            raise ValueError(f"{scales} scales; 1 or more")
        require_tiles(scales**2)
        self.scales = range(1, scales + 1)

    def canvases(self, size: Size) -> Sequence[Canvas]:
        return [Canvas.stretched(self.side, scale, scale) for scale in self.scales]

    def largest(self) -> Iterable[Size]:
        return [(self.side, self.side)]

    def num_units(self, size: Size) -> int:
        return 1

    def segments(
        self, made: Sequence[tuple[int, int]], grids: Sequence[Grid | None]
    ) -> Sequence[tuple[int, int]]:
        if None in grids:
            raise ValueError("s2 puts maps on top of each other, but this fusion makes none")
        return [(tokens, len(self.scales) * channels) for tokens, channels in made]

    def units(self, made: Sequence[Tensor], grids: Sequence[Grid | None]) -> Sequence[Tensor]:
        pairs = zip(made, grids, strict=True)
        return [stack_scales(tokens, self.scales, grid) for tokens, grid in pairs if grid]


def stack_scales(views: Tensor, scales: Sequence[int], grid: Grid) -> Tensor:
    """Maps (V,N,C) of each image's tiles, k x k at scale k, as one map (I,N,C*scales) an image."""
    import torch  # not to plan
    from torch.nn.functional import interpolate

    counts, (height, width) = [scale**2 for scale in scales], grid
    images = views.reshape(-1, sum(counts), *views.shape[1:])
    scaled = []
    for scale, tiles in zip(scales, torch.split(images, counts, dim=1), strict=True):
        maps = tiles.reshape(len(tiles), scale, scale, height, width, -1)
        whole = maps.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (I,C,scale*H,scale*W)
        scaled.append(interpolate(whole, grid, mode="area").flatten(2).transpose(1, 2))
    return torch.cat(scaled, dim=2)
