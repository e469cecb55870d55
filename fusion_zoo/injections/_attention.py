"""What injections by cross-attention share.

B conversations, S tokens that the language model reads of each, M media, D width of both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MediaAttention(nn.Module):
    """Attention of tokens (B,S,D) to media (B,M,D), without biases; zero where none is visible.

    heads: of queries; key_heads: of keys and values; eps: of a norm of each head's queries and
    keys, None for no norms.
    """

    def __init__(
        self, width: int, heads: int, key_heads: int, head_width: int, eps: float | None = None
    ) -> None:
        super().__init__()
        self.head_width = head_width
        self.query = nn.Linear(width, heads * head_width, bias=False)
        self.key = nn.Linear(width, key_heads * head_width, bias=False)
        self.value = nn.Linear(width, key_heads * head_width, bias=False)
        self.output = nn.Linear(heads * head_width, width, bias=False)
        norms = [nn.Identity() if eps is None else nn.RMSNorm(head_width, eps) for _ in range(2)]
        self.query_norm, self.key_norm = norms

    def forward(self, hidden: Tensor, media: Tensor, visible: Tensor) -> Tensor:
        """visible: (B,S,M) bool."""
        if not media.shape[1]:
            return torch.zeros_like(hidden)
        query, key, value = (
            x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for x in (self.query(hidden), self.key(media), self.value(media))
        )
        blind = ~visible.any(-1, keepdim=True)  # without a key, softmax has nothing to give
        attended = F.scaled_dot_product_attention(
            self.query_norm(query),
            self.key_norm(key),
            value,
            (visible | blind)[:, None],
            enable_gqa=key.shape[1] != query.shape[1],
        )
        given: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return given.masked_fill(blind, 0.0)


class SwiGlu(nn.Module):
    """down(SiLU(gate(x)) * up(x)), without biases: the feed-forward layer of Llama's family."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return made


class GatedBlock(nn.Module):
    """x + tanh(a) attention(norm(x), media), then x + tanh(f) feed_forward(norm(x)).

    a and f are 0 at the start. Of a token that sees no media the first sum is x; with
    `spares_blind` the second is, too.
    """

    def __init__(
        self,
        norms: tuple[nn.Module, nn.Module],
        attention: MediaAttention,
        feed_forward: nn.Module,
        *,
        spares_blind: bool = False,
    ) -> None:
        super().__init__()
        self.spares_blind = spares_blind
        self.attention_norm, self.feed_forward_norm = norms
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward_gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, media: Tensor, visible: Tensor) -> Tensor:
        attended = self.attention(self.attention_norm(hidden), media, visible)
        hidden = hidden + (self.attention_gate.tanh() * attended).to(hidden.dtype)
        made = self.feed_forward(self.feed_forward_norm(hidden))
        if self.spares_blind:
            made = made.masked_fill(~visible.any(-1, keepdim=True), 0.0)
        changed: Tensor = hidden + (self.feed_forward_gate.tanh() * made).to(hidden.dtype)
        return changed
