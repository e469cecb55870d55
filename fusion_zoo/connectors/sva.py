"""Queries on a grid ask, of every expert, the window at their own place (Cambrian-1's SVA).

Tong et al. 2024 (arXiv 2406.16860), section 4: the spatial vision aggregator before the language
model. Left out: masks of padded canvases, newlines, and its further layers inside the model.
B batch, N queries on a grid (H, W), E inner width, D width of the language model; of segment i: its
map, resized to (H * r, W * s), so that a query's window is r * s of its tokens.
"""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import FeatureMap, MapShape, Segment, resize_flops, resize_map
from fusion_zoo.connectors._interface import Connector, Grid, require_grid
from fusion_zoo.connectors.mlp import mlp


class Sva(Connector):
    """One token of all segments for each place of a grid.

    side: of the grid of queries; 0 for the first segment's grid. inner, heads, depth: E, and of its
    layers. A map whose sides are no multiple of the grid's is resized to the nearest.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        side: int = 0,
        inner: int = 1024,
        heads: int = 16,
        depth: int = 3,
    ) -> None:
        super().__init__(segments, grids, width)
        if not self.segments:
            raise ValueError("the fusion makes no tokens for it")
        if side < 0 or min(depth, heads, inner) < 1 or inner % heads:
            raise ValueError(f"side {side}, depth {depth}, {heads} heads of a width of {inner}")
        given = [require_grid(*pair) for pair in zip(self.segments, self.grids, strict=True)]
        rows, columns = self.grid = (side, side) if side else given[0]
        self.num_tokens = rows * columns
        self.windows = tuple(
            (max(1, round(h / rows)), max(1, round(w / columns))) for h, w in given
        )
        self.towers = nn.ModuleList(
            nn.Sequential(mlp(segment.channels, inner), nn.LayerNorm(inner))
            for segment in self.segments
        )
        self.query = nn.Parameter(torch.empty(inner).normal_(std=inner**-0.5))
        self.layers = nn.ModuleList(_Layer(inner, heads, self.windows) for _ in range(depth))
        self.read = mlp(inner, width)
        self.inner, self.given = inner, tuple(given)

    def flops(self, text_tokens: int = 0) -> int:
        cells, inner = self.num_tokens, self.inner
        total = 2 * cells * self.width * (inner + self.width)
        for segment, grid, window in zip(self.segments, self.given, self.windows, strict=True):
            size = (self.grid[0] * window[0], self.grid[1] * window[1]) if self.grid else grid
            total += resize_flops(MapShape(segment.channels, *grid), size)
            total += 2 * prod(size) * inner * (segment.channels + inner)
        layers = (layer for layer in self.layers if isinstance(layer, _Layer))
        return total + sum(layer.flops(cells) for layer in layers)

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        towers = [self._windows(number, tokens) for number, tokens in enumerate(segments)]
        batch = len(segments[0])
        context = towers[0].reshape(batch, -1, self.inner).mean(dim=1)
        rows = self.query.expand(batch, self.num_tokens, -1)
        for layer in self.layers:
            rows = layer(rows, towers, context)
        made: Tensor = self.read(rows)
        return made

    def _windows(self, number: int, tokens: Tensor) -> Tensor:
        """Of a segment's tokens (B,M,C): those of each query's window, (B * N, r * s, E)."""
        assert self.grid is not None
        (rows, columns), (down, across) = self.grid, self.windows[number]
        image = FeatureMap.from_tokens(tokens, self.given[number]).tensor
        image = resize_map(image, (rows * down, columns * across), align_corners=False)
        made = self.towers[number](FeatureMap(image).tokens())
        cells: Tensor = made.reshape(len(tokens), rows, down, columns, across, -1)
        return cells.transpose(2, 3).reshape(-1, down * across, self.inner)


class _Layer(nn.Module):
    """Cross-attention of each query to its windows in all towers; only norms have a bias."""

    def __init__(self, width: int, heads: int, windows: Sequence[Grid]) -> None:
        super().__init__()
        self.heads, self.windows, self.width = heads, tuple(map(prod, windows)), width
        self.context = nn.Linear(width, width, bias=False)
        self.enter = nn.Linear(2 * width, width, bias=False)
        self.places = nn.ParameterDict(
            {str(n): torch.randn(size, width) for n, size in enumerate(self.windows) if size > 1}
        )
        self.query = _normed(width)
        self.keys = nn.ModuleList(_normed(width) for _ in windows)
        self.values = nn.ModuleList(_normed(width) for _ in windows)
        self.output = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.GELU(), nn.Linear(width, width, bias=False)
        )

    def flops(self, queries: int) -> int:
        width, read = self.width, sum(self.windows)
        projected = queries * (6 + 2 * read) * width**2 + width**2
        return 2 * projected + 4 * queries * read * width

    def forward(self, rows: Tensor, towers: Sequence[Tensor], context: Tensor) -> Tensor:
        """rows (B,N,E); towers (B * N, window, E) each; context (B,E)."""
        around = self.context(context)[:, None].expand_as(rows)
        entered = self.enter(torch.cat([rows, around.to(rows.dtype)], dim=-1)).flatten(0, 1)
        seen = [
            tower + self.places[str(n)] if str(n) in self.places else tower
            for n, tower in enumerate(towers)
        ]
        key, value = (
            torch.cat([layer(x) for layer, x in zip(layers, seen, strict=True)], dim=1)
            for layers in (self.keys, self.values)
        )
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(entered)[:, None], key, value)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)
        made = self.leave(self.norm(entered + self.output(attended)))
        changed: Tensor = rows + made.view_as(rows)
        return changed


def _normed(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width, bias=False))
