"""From the fused features to the language model's embedding space.

Shapes: B batch, N tokens, C channels, D model width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_zoo import Segment


class Projector(nn.Module):
    """`mlp2x_gelu` (Liu et al. 2023, LLaVA-1.5): Linear, GELU, Linear; one for every segment."""

    def __init__(self, segments: Sequence[Segment], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(segment.channels, width), nn.GELU(), nn.Linear(width, width))
            for segment in segments
        )

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        """One (B,N_i,C_i) a segment -> (B, sum of N_i, D), in the segments' order."""
        pairs = zip(self.layers, segments, strict=True)
        return torch.cat([layer(tokens) for layer, tokens in pairs], dim=1)
