"""Each expert's tokens projected by itself, then one of each in turn (I-MoF, LEO).

B batch, N tokens, C channels, H W grid, D width of the language model.

Tong et al. 2024 (arXiv 2401.06209), section 4.2: tokens of CLIP and DINOv2, each through an MLP of
its own, interleaved so that they keep their order in the image. Azadani et al. 2025 (LEO, arXiv
2501.06986): a LayerNorm before each MLP. As published with the connector `identity`. Maps are
resized as in `channel_concat`; any number of experts is ours.
"""

from collections.abc import Sequence

import torch
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


class Interleave(Fusion):
    """k * H*W tokens of the language model's width: token k * i + j is expert j's at place i.

    norm: a LayerNorm over each expert's channels first, as LEO has it.
    """

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        llm: LanguageShape,
        *,
        norm: bool = False,
    ) -> None:
        super().__init__(shapes, grid)
        self.projectors = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(shape.channels) if norm else nn.Identity(),
                nn.Linear(shape.channels, llm.width),
                nn.GELU(),
                nn.Linear(llm.width, llm.width),
            )
            for shape in self.shapes
        )
        self.width = llm.width
        self.segments = (Segment(len(self.shapes) * self.grid[0] * self.grid[1], llm.width),)

    def flops(self) -> int:
        cells = 2 * self.grid[0] * self.grid[1] * self.width
        linear = (cells * (shape.channels + self.width) for shape in self.shapes)
        return sum(linear) + sum(resize_flops(shape, self.grid) for shape in self.shapes)

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        resized = [
            resize_map(feature_map.tensor, self.grid, align_corners=True) for feature_map in maps
        ]
        pairs = zip(self.projectors, resized, strict=True)
        made = [projector(FeatureMap(resized_map).tokens()) for projector, resized_map in pairs]
        return [torch.stack(made, dim=2).flatten(1, 2)]
