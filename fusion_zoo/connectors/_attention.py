"""Attention of some tokens over others, as several connectors have it.

B batch, Q queries, K keys, C channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Heads of queries (B,Q,width) over keys (B,K,keys), each with a linear map of its own.

    heads: each `head_width` wide, by default width / heads; `keys`, `output`: widths of keys and of
    what it gives, by default `width`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        keys: int = 0,
        head_width: int = 0,
        output: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if heads < 1 or (not head_width and width % heads):
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        inner = heads * (head_width or width // heads)
        self.heads = heads
        self.query = nn.Linear(width, inner, bias=bias)
        self.key = nn.Linear(keys or width, inner, bias=bias)
        self.value = nn.Linear(keys or width, inner, bias=bias)
        self.output = nn.Linear(inner, output or width, bias=bias)

    def flops(self, queries: int, keys: int) -> int:
        """Operations of so many queries over so many keys."""
        inner = self.query.out_features
        projected = queries * (self.query.in_features + self.output.out_features)
        return 2 * inner * (projected + 2 * keys * self.key.in_features + 2 * queries * keys)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """`value`: of the keys, by default they themselves; `mask` (B,1,Q or 1,K): True is seen."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in (
                (self.query, query),
                (self.key, key),
                (self.value, key if value is None else value),
            )
        )
        attended = F.scaled_dot_product_attention(q, k, v, mask)
        given: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return given


def feed_forward(width: int, inner: int, *, bias: bool = True) -> nn.Sequential:
    """Linear, GELU, Linear."""
    return nn.Sequential(
        nn.Linear(width, inner, bias=bias), nn.GELU(), nn.Linear(inner, width, bias=bias)
    )
