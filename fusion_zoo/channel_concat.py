"""Every map resized to one grid, their channels concatenated (Eagle).

B batch, N tokens, C channels, H W grid.

Eagle (Shi et al. 2024), section 3; the reference resizes bilinearly in fp32 with
align_corners=True and no antialiasing, and only where the size differs. No norm, no gate, no
parameter. Any number of experts, as published.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ._interface import (
    BlockwiseBase,
    FeatureMap,
    Fusion,
    MapShape,
    Segment,
    resize_flops,
    resize_map,
)


class ChannelConcat(Fusion):
    """H*W tokens of sum(C) channels, the base's channels first.

    align_corners: as published; False puts pixel centres at (i + 0.5) / size.
    antialias: filter where a map is made smaller, which the published code does not.
    """

    grows: ClassVar[bool] = True

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        *,
        align_corners: bool = True,
        antialias: bool = False,
    ) -> None:
        super().__init__(shapes, grid)
        self.align_corners = align_corners
        self.antialias = antialias
        height, width = self.grid
        self.segments = (Segment(height * width, sum(shape.channels for shape in self.shapes)),)

    def flops(self) -> int:
        return sum(resize_flops(shape, self.grid) for shape in self.shapes)

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        resized = [
            resize_map(
                feature.tensor,
                self.grid,
                align_corners=self.align_corners,
                antialias=self.antialias,
            )
            for feature in maps
        ]
        return [FeatureMap(torch.cat(resized, dim=1)).tokens()]
