"""Learned queries sample the map where they choose (Honeybee's D-Abstractor).

Cha et al. 2024 (arXiv 2312.06742): decoder layers of Deformable DETR (Zhu et al. 2021), as their
configuration d-abs.yaml has it. B batch, N tokens on a grid (H, W), C channels, Q queries on a
square, E width of the layers, M heads, P points, D width of the language model.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import FeatureMap, Segment, at_least_fp32
from fusion_zoo.connectors._attention import Attention
from fusion_zoo.connectors._interface import (
    EachSegment,
    Grid,
    SegmentLayer,
    require_grid,
    square_side,
)
from fusion_zoo.deformable import sample, start_as_published


class DAbstractor(EachSegment):
    """`queries` tokens of every segment, on a square.

    inner, layers, heads, points: E, how many layers, M and P; feed: inner width of their
    feed-forward layers. Queries are learned, N(0, 1) at the start; what is added to them to attend
    is the map pooled to their square; the places where each samples, at first the uniform grid, are
    learned, too. Without drop-out.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        queries: int = 144,
        inner: int = 1024,
        layers: int = 6,
        heads: int = 8,
        points: int = 4,
        feed: int = 1024,
    ) -> None:
        super().__init__(segments, grids, width)
        side = square_side(queries)
        if min(inner, layers, points, feed) < 1:
            raise ValueError("inner, layers, points and feed are at least 1")
        pairs = zip(self.segments, self.grids, strict=True)
        shape = (inner, layers, heads, points, feed)
        self.connect([_Abstractor(*pair, width, side, *shape) for pair in pairs])


class _Abstractor(SegmentLayer):
    def __init__(
        self,
        segment: Segment,
        grid: Grid | None,
        width: int,
        side: int,
        inner: int,
        layers: int,
        heads: int,
        points: int,
        feed: int,
    ) -> None:
        super().__init__()
        self.given = require_grid(segment, grid)
        self.grid, self.num_tokens = (side, side), side * side
        self.reduce = (
            nn.Linear(segment.channels, inner) if segment.channels != inner else nn.Identity()
        )
        self.places = nn.Parameter(torch.empty(segment.tokens, inner))
        nn.init.trunc_normal_(self.places, std=0.02)
        self.queries = nn.Parameter(torch.randn(self.num_tokens, inner))
        self.points = nn.Parameter(uniform(self.given, side))
        self.layers = nn.ModuleList(DecoderLayer(inner, heads, points, feed) for _ in range(layers))
        self.projection = nn.Linear(inner, width) if inner != width else nn.Identity()
        self.widths = (segment.channels, inner, width)

    def flops(self, text_tokens: int = 0) -> int:
        channels, inner, width = self.widths
        read = self.given[0] * self.given[1]
        total = 2 * read * channels * inner * (channels != inner)
        total += 2 * self.num_tokens * inner * width * (inner != width)
        layers = (layer for layer in self.layers if isinstance(layer, DecoderLayer))
        return total + sum(layer.flops(self.num_tokens, read) for layer in layers)

    def forward(self, tokens: Tensor) -> Tensor:
        assert self.grid is not None
        visual = self.reduce(tokens) + self.places
        image = FeatureMap.from_tokens(visual, self.given)
        around = FeatureMap(F.adaptive_avg_pool2d(image.tensor, self.grid)).tokens()
        rows = self.queries.expand(len(tokens), -1, -1)
        for layer in self.layers:
            rows = layer(rows, around, self.points, visual, self.given)
        made: Tensor = self.projection(rows)
        return made


def uniform(grid: Grid, side: int) -> Tensor:
    """(side * side, 2): (x, y) in [0, 1] from the centre of a grid's first cell to its last's."""
    # Not torch.linspace: transformers puts that on the CPU while it loads a model in any thread.
    steps = torch.arange(side) / max(side - 1, 1)
    down, across = ((0.5 + (cells - 1) * steps) / cells for cells in grid)
    return torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).flatten(0, 1)


class DecoderLayer(nn.Module):
    """Self-attention, deformable attention to the map, a feed-forward layer; normed after each."""

    def __init__(self, width: int, heads: int, points: int, feed: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.sampling = DeformableAttention(width, heads, points)
        self.sampling_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, feed), nn.ReLU(), nn.Linear(feed, width))
        self.feed_norm = nn.LayerNorm(width)
        self.inner = 4 * width * feed

    def flops(self, queries: int, tokens: int) -> int:
        sampled = self.sampling.flops(queries, tokens)
        return self.attention.flops(queries, queries) + sampled + queries * self.inner

    def forward(
        self, rows: Tensor, around: Tensor, points: Tensor, visual: Tensor, grid: Grid
    ) -> Tensor:
        """rows (B,Q,E), `around` added to them to attend; points (Q,2); visual (B,N,E)."""
        placed = rows + around
        rows = self.attention_norm(rows + self.attention(placed, placed, rows))
        rows = self.sampling_norm(rows + self.sampling(rows + around, points, visual, grid))
        changed: Tensor = self.feed_norm(rows + self.feed(rows))
        return changed


class DeformableAttention(nn.Module):
    """Each head samples a few places about each query's point, and weighs what it finds there."""

    def __init__(self, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, width)
        self.offsets = nn.Linear(width, heads * points * 2)
        self.weights = nn.Linear(width, heads * points)
        self.output = nn.Linear(width, width)
        self.samples = (heads, points)
        layers = self.value, self.offsets, self.weights, self.output
        start_as_published(*layers, (heads, 1, points))

    def flops(self, queries: int, tokens: int) -> int:
        width, (heads, points) = self.value.in_features, self.samples
        made = 2 * width * (tokens * width + queries * (width + 3 * heads * points))
        return made + 10 * queries * points * width  # four corners and a weight a sampled value

    def forward(self, query: Tensor, points: Tensor, visual: Tensor, grid: Grid) -> Tensor:
        batch, count, _ = query.shape
        offsets = at_least_fp32(self.offsets(query)).reshape(batch, count, *self.samples, 2)
        logits = at_least_fp32(self.weights(query)).reshape(batch, count, *self.samples)
        values = self.value(visual).to(offsets.dtype)
        places = points[:, None, None] + offsets / offsets.new_tensor(grid[::-1])
        sampled = sample(FeatureMap.from_tokens(values, grid), places, logits.softmax(dim=-1))
        given: Tensor = self.output(sampled.to(query.dtype))
        return given
