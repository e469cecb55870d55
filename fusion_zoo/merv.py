"""Each expert's tokens projected by itself, then summed by weights of the image (MERV).

B batch, N tokens, C channels, H W grid, E experts, D width of the language model.

Chung et al. 2025 (arXiv 2501.01426), section 3: each map is pooled to one grid and brought to D by
a linear layer; a learned query compares the means of their tokens, by one head of attention, and
its weights alone are used. As published with the connector `identity`, on images in place of
videos. The bias of the keys, which no softmax feels, is left out.
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
    at_least_fp32,
)

WEIGHTS = ("attention", "scalar")


class Merv(Fusion):
    """H*W tokens of the language model's width.

    weights: `attention`, or `scalar`: one number an expert, the same for all images.
    """

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        llm: LanguageShape,
        *,
        weights: str = "attention",
    ) -> None:
        super().__init__(shapes, grid)
        if weights not in WEIGHTS:
            raise ValueError(f"weights '{weights}' are none of {', '.join(WEIGHTS)}")
        self.projectors = nn.ModuleList(nn.Linear(s.channels, llm.width) for s in self.shapes)
        self.width, self.compared = llm.width, len(self.shapes) > 1
        self.scalars: nn.Parameter | None = None
        if self.compared and weights == "scalar":
            self.scalars = nn.Parameter(torch.randn(len(self.shapes)))
        elif self.compared:
            self.asking = nn.Parameter(torch.empty(1, llm.width))
            nn.init.xavier_uniform_(self.asking)
            self.query = nn.Linear(llm.width, llm.width)
            self.key = nn.Linear(llm.width, llm.width, bias=False)
        self.segments = (Segment(self.grid[0] * self.grid[1], llm.width),)

    def flops(self) -> int:
        cells, count, width = self.num_tokens, len(self.shapes), self.width
        total = sum(2 * cells * shape.channels * width for shape in self.shapes)
        if not self.compared:
            return total
        total += 2 * count * cells * width
        if self.scalars is None:
            total += 2 * (1 + count) * width**2 + 2 * count * width
        return total

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        pooled = [
            FeatureMap(F.adaptive_avg_pool2d(feature_map.tensor, self.grid)) for feature_map in maps
        ]
        pairs = zip(self.projectors, pooled, strict=True)
        made = torch.stack(
            [projector(pooled_map.tokens()) for projector, pooled_map in pairs], dim=1
        )
        if not self.compared:
            return [made[:, 0]]
        weights = self._weights(made).to(made.dtype)
        return [(weights[:, None] @ made.flatten(2)).reshape(len(made), -1, self.width)]

    def _weights(self, made: Tensor) -> Tensor:
        """(B,E) of experts' tokens (B,E,N,D)."""
        if self.scalars is not None:
            return self.scalars.softmax(dim=0).expand(len(made), -1)
        keys = self.key(made.mean(dim=2))
        logits = (keys @ self.query(self.asking).t().to(keys.dtype))[..., 0]
        return at_least_fp32(logits / self.width**0.5).softmax(dim=-1)
