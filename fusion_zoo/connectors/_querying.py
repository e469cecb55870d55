"""BLIP-2's querying transformer: learned queries that read visual tokens, and text beside them.

Li et al. 2023 (arXiv 2301.12597); with text: InstructBLIP, Dai et al. 2023 (2305.06500).
B batch, Q queries, N visual tokens, C their channels, W width, T tokens of text, D their width.
"""

import torch
from torch import Tensor, nn

from fusion_zoo import Instruction
from fusion_zoo.connectors._attention import Attention, feed_forward

EPSILON = 1e-12
"""Of every norm, as in BERT."""
POSITIONS = 512
"""Of text; further tokens have the last one."""


class QueryingTransformer(nn.Module):
    """BERT layers, normed after each part, with cross-attention of the queries in every so many.

    Queries and text share self-attention; text has feed-forward layers of its own and no
    cross-attention. Without drop-out; text rows that nothing reads any more are not computed. Text
    comes embedded by the language model, by a linear map to W, where InstructBLIP's has BERT's
    words. Queries begin as N(0, 0.02).
    """

    def __init__(
        self,
        queries: int,
        channels: int,
        width: int,
        *,
        layers: int,
        heads: int,
        every: int,
        text: int = 0,
    ) -> None:
        super().__init__()
        if min(queries, width, layers, every) < 1:
            given = queries, width, layers, every
            raise ValueError(f"queries, inner, layers and every are at least 1: {given}")
        self.queries = nn.Parameter(torch.empty(queries, width).normal_(std=0.02))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.blocks = nn.ModuleList(
            _Block(
                width,
                heads,
                channels if number % every == 0 else 0,
                bool(text) and number < layers - 1,
            )
            for number in range(layers)
        )
        if text:
            self.text = nn.Linear(text, width)
            self.places = nn.Parameter(torch.empty(POSITIONS, width).normal_(std=0.02))
        self.size = (queries, width)
        self.text_width = text

    def flops(self, keys: int, text_tokens: int = 0) -> int:
        queries, width = self.size
        read = 2 * text_tokens * self.text_width * width
        text = text_tokens if self.text_width else 0
        blocks = (block for block in self.blocks if isinstance(block, _Block))
        return read + sum(block.flops(queries, keys, text) for block in blocks)

    def forward(self, visual: Tensor, context: Instruction | None = None) -> Tensor:
        """(B,N,C), and the instruction if it reads text -> (B,Q,W)."""
        rows = self.queries.expand(len(visual), -1, -1)
        count, mask = rows.shape[1], None
        if context is not None:
            positions = torch.arange(context.mask.shape[1], device=rows.device).clamp(
                max=POSITIONS - 1
            )
            embedded = self.text(context.tokens.to(self.text.weight.dtype)) + self.places[positions]
            rows = torch.cat([rows, embedded.to(rows.dtype)], dim=1)
            real = torch.ones_like(context.mask[:, :1]).expand(-1, count)
            mask = torch.cat([real, context.mask], dim=1)[:, None, None]
        rows = self.norm(rows)
        for block in self.blocks:
            rows = block(rows, visual, count, mask)
        queried: Tensor = rows[:, :count]
        return queried


class _Block(nn.Module):
    """`channels`: of the visual tokens it reads, 0 without; `writes`: whether text goes on."""

    def __init__(self, width: int, heads: int, channels: int, writes: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.reads, self.writes = bool(channels), writes
        if channels:
            self.cross = Attention(width, heads, keys=channels)
            self.cross_norm = nn.LayerNorm(width, eps=EPSILON)
        self.feed = feed_forward(width, 4 * width)
        self.feed_norm = nn.LayerNorm(width, eps=EPSILON)
        if writes:
            self.text_feed = feed_forward(width, 4 * width)
            self.text_norm = nn.LayerNorm(width, eps=EPSILON)
        self.width = width

    def flops(self, queries: int, keys: int, text_tokens: int) -> int:
        kept = queries + text_tokens * self.writes
        total = self.attention.flops(kept, queries + text_tokens) + 16 * kept * self.width**2
        return total + (self.cross.flops(queries, keys) if self.reads else 0)

    def forward(self, rows: Tensor, visual: Tensor, count: int, mask: Tensor | None) -> Tensor:
        kept = rows if self.writes else rows[:, :count]
        kept = self.attention_norm(kept + self.attention(kept, rows, mask=mask))
        queries, text = kept[:, :count], kept[:, count:]
        if self.reads:
            queries = self.cross_norm(queries + self.cross(queries, visual))
        queries = self.feed_norm(queries + self.feed(queries))
        if not self.writes:
            given: Tensor = queries
            return given
        return torch.cat([queries, self.text_norm(text + self.text_feed(text))], dim=1)
