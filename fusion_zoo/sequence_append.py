"""Every map resized to one grid, their tokens appended one expert after another.

B batch, N tokens, C channels, H W grid.

Eagle (Shi et al. 2024), section 3, compares it but released no code for it: each expert keeps its
width, so each gets a projector of its own, and the language model reads k * H * W tokens in the
mixture's order. Maps are resized as in `channel_concat`, so the two differ in nothing else. No
separator, no norm, no parameter. Any number of experts, as published.
"""

from collections.abc import Sequence

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


class SequenceAppend(Fusion):
    """A segment of H*W tokens for each expert, the base's first.

    align_corners: as Eagle resizes; False puts pixel centres at (i + 0.5) / size.
    antialias: filter where a map is made smaller, which Eagle does not.
    """

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
        self.segments = tuple(Segment(height * width, shape.channels) for shape in self.shapes)

    def flops(self) -> int:
        return sum(resize_flops(shape, self.grid) for shape in self.shapes)

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        return [
            FeatureMap(
                resize_map(
                    feature.tensor,
                    self.grid,
                    align_corners=self.align_corners,
                    antialias=self.antialias,
                )
            ).tokens()
            for feature in maps
        ]
