"""Each expert has its share of the first layer's outputs (the aligner of DeepSeek-VL).

B batch, N tokens, C channels, H W grid, E experts, D width of the language model.

Lu et al. 2024 (arXiv 2403.05525), section 3.1: linear layers of their own bring high- and
low-resolution tokens to D / 2 each; their outputs, side by side, pass GELU, then a linear layer: as
published with the connector `linear`. Maps are resized as in `channel_concat`, where the published
one has convolutions behind SAM; more than two experts share D as evenly as it goes (ours).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._interface import (
    BlockwiseBase,
    FeatureMap,
    Fusion,
    LanguageShape,
    MapShape,
    Segment,
    resize_flops,
    resize_map,
)


class DeepseekVl(Fusion):
    """H*W tokens of the language model's width."""

    def __init__(
        self, shapes: Sequence[MapShape], grid: tuple[int, int], llm: LanguageShape
    ) -> None:
        super().__init__(shapes, grid)
        count, width = len(self.shapes), llm.width
        if count > width:
            raise ValueError(f"{count} experts have no share each of a width of {width}")
        shares = [width // count + (n < width % count) for n in range(count)]
        self.projectors = nn.ModuleList(
            nn.Linear(shape.channels, share)
            for shape, share in zip(self.shapes, shares, strict=True)
        )
        self.shares = tuple(shares)
        self.segments = (Segment(self.grid[0] * self.grid[1], width),)

    def flops(self) -> int:
        pairs = zip(self.shapes, self.shares, strict=True)
        linear = sum(2 * self.num_tokens * shape.channels * share for shape, share in pairs)
        return linear + sum(resize_flops(shape, self.grid) for shape in self.shapes)

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        resized = [
            resize_map(feature_map.tensor, self.grid, align_corners=True) for feature_map in maps
        ]
        pairs = zip(self.projectors, resized, strict=True)
        made = [projector(FeatureMap(resized_map).tokens()) for projector, resized_map in pairs]
        return [F.gelu(torch.cat(made, dim=2))]
