"""Tokens that have the language model's width already are handed on; nothing is learnt.

B batch, L tokens, D width of the language model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fusion_zoo import Segment
from fusion_zoo.connectors._interface import Connector, Grid


class Identity(Connector):
    """For fusions that make tokens of the language model's width themselves, such as `merv`."""

    def __init__(
        self, segments: Sequence[Segment], grids: Sequence[Grid | None], width: int
    ) -> None:
        super().__init__(segments, grids, width)
        for segment in self.segments:
            if segment.channels != width:
                raise ValueError(
                    f"the fusion's tokens are {segment.channels} wide, not {width} as the language "
                    "model's; choose linear or mlp"
                )
        self.num_tokens = sum(segment.tokens for segment in self.segments)
        self.grid = self.grids[0] if len(self.grids) == 1 else None

    def flops(self, text_tokens: int = 0) -> int:
        return 0

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(segments), dim=1)
