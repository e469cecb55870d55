"""A Q-Former's tokens, then all experts' channels side by side, each projected and normed (SPHINX).

B batch, N tokens, C channels, H W grid, Q queries, D width of the language model.

Lin et al. 2023 (arXiv 2311.07575), as LLaMA2-Accessory has it: Linear and LayerNorm for each of the
two. As published with the connector `identity`. Ours: the Q-Former reads the base's map, where
theirs is BLIP-2's with an encoder of its own; maps are resized as in `channel_concat`, where theirs
of 8x8 is repeated; no class tokens. Its five views of an image are a tiling.
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
from .connectors._querying import QueryingTransformer


class Sphinx(Fusion):
    """`queries` + H*W tokens of the language model's width.

    inner, layers, heads: width and shape of the Q-Former, BLIP-2's by default.
    """

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        llm: LanguageShape,
        *,
        queries: int = 32,
        inner: int = 768,
        layers: int = 12,
        heads: int = 12,
    ) -> None:
        super().__init__(shapes, grid)
        base, width = self.shapes[0], llm.width
        self.former = QueryingTransformer(
            queries, base.channels, inner, layers=layers, heads=heads, every=2
        )
        self.asked = nn.Sequential(nn.Linear(inner, width), nn.LayerNorm(width))
        channels = sum(shape.channels for shape in self.shapes)
        self.seen = nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))
        self.widths = (inner, channels, width)
        cells = self.grid[0] * self.grid[1]
        self.segments = (Segment(queries, width), Segment(cells, width))

    @property
    def grids(self) -> tuple[tuple[int, int] | None, ...]:
        return None, self.grid

    def flops(self) -> int:
        inner, channels, width = self.widths
        (queries, _), (cells, _) = self.segments
        linear = 2 * width * (queries * inner + cells * channels)
        resized = sum(resize_flops(shape, self.grid) for shape in self.shapes)
        return linear + resized + self.former.flops(self.shapes[0].tokens)

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        resized = [
            resize_map(feature_map.tensor, self.grid, align_corners=True) for feature_map in maps
        ]
        side_by_side = FeatureMap(torch.cat(resized, dim=1)).tokens()
        return [self.asked(self.former(maps[0].tokens())), self.seen(side_by_side)]
