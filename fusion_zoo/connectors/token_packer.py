"""A coarse token asks those of its own window (TokenPacker).

Li et al. 2024 (arXiv 2407.02392). B batch, N tokens on a grid (H, W), C channels, E inner width,
D width of the language model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_zoo import FeatureMap, Segment, resize_flops, resize_map
from fusion_zoo._interface import MapShape
from fusion_zoo.connectors._attention import Attention
from fusion_zoo.connectors._interface import Connector, Grid, require_grid
from fusion_zoo.connectors.mlp import mlp


class TokenPacker(Connector):
    """(H // size) * (W // size) tokens of all segments, which have one grid that size divides.

    The first segment, made coarse, gives the queries; the others' channels side by side give keys
    and values, as the published one's four layers of CLIP do. A single segment gives both (ours).
    inner, heads: E, and of the attention; it has no residual, and norms of eps 1e-6.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        size: int = 2,
        inner: int = 1024,
        heads: int = 8,
    ) -> None:
        super().__init__(segments, grids, width)
        if not self.segments:
            raise ValueError("the fusion makes no tokens for it")
        (self.given, *others) = map(require_grid, self.segments, self.grids)
        rows, columns = self.given
        if any(grid != self.given for grid in others):
            raise ValueError(f"segments on different grids: {[self.given, *others]}")
        if size < 1 or rows % size or columns % size:
            raise ValueError(f"the size {size} does not divide a grid of {rows}x{columns}")
        if inner < 1:
            raise ValueError(f"inner is at least 1: {inner}")
        self.size = size
        self.grid = (rows // size, columns // size)
        self.num_tokens = self.grid[0] * self.grid[1]
        self.channels = self.segments[0].channels
        self.fine = sum(segment.channels for segment in self.segments[1:]) or self.channels
        self.query = nn.Linear(self.channels, inner, bias=False)
        self.key, self.value = (
            nn.Sequential(mlp(self.fine, inner), nn.LayerNorm(inner, eps=1e-6)) for _ in range(2)
        )
        self.query_norm = nn.LayerNorm(inner, eps=1e-6)
        self.attention = Attention(inner, heads)
        self.read = mlp(inner, width)
        self.widths = (inner, width)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def flops(self, text_tokens: int = 0) -> int:
        (inner, width), cells = self.widths, self.size**2
        each = self.channels * inner + width * (inner + width)
        each += cells * 2 * inner * (self.fine + inner)
        coarse = resize_flops(MapShape(self.channels, *self.given), self.grid or self.given)
        return coarse + self.num_tokens * (2 * each + self.attention.flops(1, cells))

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        assert self.grid is not None
        coarse, *others = segments
        fine = torch.cat(others, dim=2) if others else coarse
        image = FeatureMap.from_tokens(coarse, self.given).tensor
        asked = FeatureMap(resize_map(image, self.grid, align_corners=False)).tokens()
        query = self.query_norm(self.query(asked)).flatten(0, 1)[:, None]
        key, value = (self.windows(layer(fine)) for layer in (self.key, self.value))
        attended = self.attention(query, key, value)[:, 0].unflatten(0, (len(coarse), -1))
        made: Tensor = self.read(attended)
        return made

    def windows(self, tokens: Tensor) -> Tensor:
        """(B,N,E) -> (B * num_tokens, size * size, E)."""
        assert self.grid is not None
        (rows, columns), size = self.grid, self.size
        cells = tokens.reshape(len(tokens), rows, size, columns, size, -1)
        return cells.transpose(2, 3).reshape(-1, size * size, tokens.shape[-1])
