"""Linear layers with GELU between them; depth 2 is LLaVA-1.5's mlp2x_gelu, depth 1 its linear.

Liu et al. 2023, arXiv 2310.03744 (depth 2) and 2304.08485 (depth 1).
B batch, L tokens, D width of the language model; of segment i: N_i tokens, C_i channels.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from fusion_zoo import Segment
from fusion_zoo.connectors._interface import Connector, Grid


def mlp(inputs: int, width: int, depth: int = 2) -> nn.Sequential:
    """So many linear layers of one width with GELU between them."""
    layers: list[nn.Module] = [nn.Linear(inputs, width)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


class Mlp(Connector):
    """Every token of every segment; layers of its own for each segment.

    depth: linear layers, at least one.
    """

    grows: ClassVar[bool] = True

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        depth: int = 2,
    ) -> None:
        super().__init__(segments, grids, width)
        if depth < 1:
            raise ValueError(f"depth {depth}: at least one layer is needed")
        self.layers = nn.ModuleList(mlp(s.channels, width, depth) for s in self.segments)
        self.depth = depth
        self.num_tokens = sum(segment.tokens for segment in self.segments)
        self.grid = self.grids[0] if len(self.grids) == 1 else None

    def flops(self, text_tokens: int = 0) -> int:
        rest = (self.depth - 1) * self.width
        return sum(2 * n * self.width * (channels + rest) for n, channels in self.segments)

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        pairs = zip(self.layers, segments, strict=True)
        return torch.cat([layer(tokens) for layer, tokens in pairs], dim=1)
