"""One cross-attention of learned queries, with 2-D positions on queries and keys (Qwen-VL).

Bai et al. 2023 (arXiv 2308.12966), as in Monkey and MiniCPM-V too.
B batch, N tokens on a grid (H, W), C channels, Q queries on a square, D the language model's width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import Segment
from fusion_zoo.connectors._attention import Attention
from fusion_zoo.connectors._interface import (
    EachSegment,
    Grid,
    SegmentLayer,
    require_grid,
    square_side,
)


class Resampler2D(EachSegment):
    """`queries` tokens of every segment, a square number.

    heads: 0 for one in 128 of the language model's width, as published. The table of positions is
    not trained; for the keys it is resized from the queries' square to the grid, as published by
    bicubic interpolation. No residual and no feed-forward layer; all norms have eps 1e-6.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        queries: int = 256,
        heads: int = 0,
    ) -> None:
        super().__init__(segments, grids, width)
        if width % 4:
            raise ValueError(f"positions need a width that 4 divides, not {width}")
        heads = heads or max(1, width // 128)
        pairs = zip(self.segments, self.grids, strict=True)
        self.connect([_Resampler(*pair, width, queries, heads) for pair in pairs])


class _Resampler(SegmentLayer):
    def __init__(
        self, segment: Segment, grid: Grid | None, width: int, queries: int, heads: int
    ) -> None:
        super().__init__()
        self.given = require_grid(segment, grid)
        side = square_side(queries)
        self.grid, self.num_tokens = (side, side), queries
        self.channels, self.width = segment.channels, width
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.reduce = nn.Linear(segment.channels, width, bias=False)
        self.key_norm = nn.LayerNorm(width, eps=1e-6)
        self.query_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.projection = nn.Parameter(torch.empty(width, width).normal_(std=width**-0.5))
        nn.init.trunc_normal_(self.queries, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def flops(self, text_tokens: int = 0) -> int:
        read = self.given[0] * self.given[1]
        around = read * self.channels * self.width + self.num_tokens * self.width**2
        return 2 * around + self.attention.flops(self.num_tokens, read)

    def forward(self, tokens: Tensor) -> Tensor:
        assert self.grid is not None
        places = sine_table(self.grid[0], self.width, tokens.device)
        keys = self.key_norm(self.reduce(tokens))
        query = self.query_norm(self.queries) + places.to(keys.dtype)
        key = keys + resized(places, self.grid, self.given).to(keys.dtype)
        attended = self.attention(query.expand(len(tokens), -1, -1), key, keys)
        made: Tensor = self.norm(attended) @ self.projection.to(attended.dtype)
        return made


def sine_table(side: int, width: int, device: torch.device) -> Tensor:
    """(side * side, width): sines, then cosines, of x, and the same of y; row-major, in fp32."""
    count = width // 4
    rates = 10000.0 ** (-torch.arange(count, device=device, dtype=torch.float64) / count)
    angles = torch.arange(side, device=device, dtype=torch.float64)[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    across = table[None].expand(side, -1, -1)
    down = table[:, None].expand(-1, side, -1)
    return torch.cat([across, down], dim=-1).flatten(0, 1)


def resized(table: Tensor, before: Grid, after: Grid) -> Tensor:
    """A table of positions of one grid for another."""
    if before == after:
        return table
    image = table.t().reshape(1, -1, *before)
    return F.interpolate(image, after, mode="bicubic", align_corners=False)[0].flatten(1).t()
