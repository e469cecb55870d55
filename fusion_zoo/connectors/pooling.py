"""Neighbouring tokens pooled into one, before the linear layers or after them.

Before, by average, maximum or a convolution that is the first layer: LLaVA-NeXT's spatial_pool and
pooler (Liu et al. 2024). After: PerceptionLM (Cho et al. 2025, arXiv 2504.13180), which pools what
the layers give to (H // size, W // size); it differs, since GELU is not linear.
B batch, N tokens on a grid (H, W), C channels, D width of the language model.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import FeatureMap, Segment
from fusion_zoo.connectors._interface import EachSegment, Grid, SegmentLayer, require_grid
from fusion_zoo.connectors.mlp import mlp

MODES = ("average", "maximum", "convolution")


class Pooling(EachSegment):
    """(H // size) * (W // size) tokens of every segment.

    size: of the square that becomes a token; a convolution takes grids that it divides. mode:
    `average`, `maximum` or `convolution`. after: pool what the layers give, by average. depth:
    linear layers, the convolution as one of them.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        size: int = 2,
        mode: str = "average",
        after: bool = False,
        depth: int = 2,
    ) -> None:
        super().__init__(segments, grids, width)
        if mode not in MODES:
            raise ValueError(f"mode '{mode}' is none of {', '.join(MODES)}")
        if after and mode != "average":
            raise ValueError(f"after the layers tokens are pooled by average, not by {mode}")
        if size < 1 or depth < 1:
            raise ValueError(f"size {size} and depth {depth} are at least 1")
        pairs = zip(self.segments, self.grids, strict=True)
        self.connect([_Pool(*pair, width, size, mode, after, depth) for pair in pairs])


class _Pool(SegmentLayer):
    def __init__(
        self,
        segment: Segment,
        grid: Grid | None,
        width: int,
        size: int,
        mode: str,
        after: bool,
        depth: int,
    ) -> None:
        super().__init__()
        self.given = require_grid(segment, grid)
        height, columns = self.given
        if min(self.given) < size:
            raise ValueError(f"a grid of {height}x{columns} is smaller than the size {size}")
        if mode == "convolution" and (height % size or columns % size):
            raise ValueError(f"the size {size} does not divide a grid of {height}x{columns}")
        self.grid = (height // size, columns // size)
        self.num_tokens = self.grid[0] * self.grid[1]
        self.mode, self.after = mode, after
        self.channels, self.width, self.depth = segment.channels, width, depth
        self.size = size
        if mode == "convolution":
            first = nn.Conv2d(segment.channels, width, size, size)
            self.convolution, self.layers = first, mlp(width, width, depth)[1:]
        else:
            self.layers = mlp(segment.channels, width, depth)

    def flops(self, text_tokens: int = 0) -> int:
        tokens = self.given[0] * self.given[1] if self.after else self.num_tokens
        taken = self.channels * (self.size**2 if self.mode == "convolution" else 1)
        return 2 * tokens * self.width * (taken + (self.depth - 1) * self.width)

    def forward(self, tokens: Tensor) -> Tensor:
        assert self.grid is not None
        if self.after:
            made = FeatureMap.from_tokens(self.layers(tokens), self.given)
            return FeatureMap(F.adaptive_avg_pool2d(made.tensor, self.grid)).tokens()
        image = FeatureMap.from_tokens(tokens, self.given).tensor
        if self.mode == "convolution":
            pooled = self.convolution(image)
        elif self.mode == "maximum":
            pooled = F.adaptive_max_pool2d(image, self.grid)
        else:
            pooled = F.adaptive_avg_pool2d(image, self.grid)
        made_of: Tensor = self.layers(FeatureMap(pooled).tokens())
        return made_of
