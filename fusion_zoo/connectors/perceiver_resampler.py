"""Learned latents read the tokens layer by layer: Flamingo's perceiver resampler, or Lynx's.

Alayrac et al. 2022 (arXiv 2204.14198), as OpenFlamingo has it; Zeng et al. 2023 (2307.02469).
B batch, N tokens, C channels, Q latents, E their width, D width of the language model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_zoo import Segment
from fusion_zoo.connectors._attention import Attention, feed_forward
from fusion_zoo.connectors._interface import EachSegment, Grid, SegmentLayer


class PerceiverResampler(EachSegment):
    """`queries` tokens of every segment.

    style: `flamingo` (latents as wide as the tokens, which are keys beside them; ours: a Linear to
    D at the end, since they stand in the context here) or `lynx` (latents as wide as the language
    model; keys are the tokens alone). depth, heads of head_width: of its layers; mult: inner width
    of their feed-forward layers. No linear layer has a bias, but ours; tokens have no positions.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        queries: int = 64,
        style: str = "flamingo",
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        mult: int = 4,
    ) -> None:
        super().__init__(segments, grids, width)
        if style not in ("flamingo", "lynx"):
            raise ValueError(f"style '{style}' is none of flamingo, lynx")
        if min(queries, depth, heads, head_width, mult) < 1:
            raise ValueError("queries, depth, heads, head_width and mult are at least 1")
        joint = style == "flamingo"
        shape = (depth, heads, head_width, mult)
        self.connect(
            [Resampler(segment, queries, width, joint, *shape) for segment in self.segments]
        )


class Resampler(SegmentLayer):
    """(B,N,C) -> (B,Q,D). `joint`: keys are tokens and latents, whose width is C."""

    def __init__(
        self,
        segment: Segment,
        queries: int,
        width: int,
        joint: bool,
        depth: int,
        heads: int,
        head_width: int,
        mult: int,
    ) -> None:
        super().__init__()
        channels = segment.channels
        inner = channels if joint else width
        self.latents = nn.Parameter(torch.randn(queries, inner))
        self.layers = nn.ModuleList(
            _Layer(inner, channels, joint, heads, head_width, mult) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(inner)
        self.projection = nn.Linear(inner, width) if joint else nn.Identity()
        self.num_tokens, self.read = queries, segment.tokens
        self.projected = 2 * queries * inner * width * joint

    def flops(self, text_tokens: int = 0) -> int:
        layers = (layer for layer in self.layers if isinstance(layer, _Layer))
        return self.projected + sum(layer.flops(self.num_tokens, self.read) for layer in layers)

    def forward(self, tokens: Tensor) -> Tensor:
        latents = self.latents.expand(len(tokens), -1, -1)
        for layer in self.layers:
            latents = layer(latents, tokens)
        resampled: Tensor = self.projection(self.norm(latents))
        return resampled


class _Layer(nn.Module):
    def __init__(
        self, width: int, channels: int, joint: bool, heads: int, head_width: int, mult: int
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(channels)
        self.latent_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, keys=channels, head_width=head_width, bias=False)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = feed_forward(width, mult * width, bias=False)
        self.joint, self.inner = joint, 4 * mult * width**2

    def flops(self, queries: int, tokens: int) -> int:
        return self.attention.flops(queries, tokens + queries * self.joint) + queries * self.inner

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        query, keys = self.latent_norm(latents), self.token_norm(tokens)
        if self.joint:
            keys = torch.cat([keys, query], dim=1)
        latents = latents + self.attention(query, keys)
        changed: Tensor = latents + self.feed(self.feed_norm(latents))
        return changed
