"""A base with blocks, random maps and scrambled parameters for the fusions' tests.

B batch, N tokens, C channels, H W grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import fusion_zoo
from fusion_zoo import FeatureMap, Fusion, MapShape

FUSIONS = fusion_zoo.names()
SHAPES = [MapShape(16, 4, 6), MapShape(12, 8, 12), MapShape(20, 3, 5), MapShape(8, 7, 6)]


class ToyBase(nn.Module):
    """Residual blocks over given tokens, after the protocol `BlockwiseBase`."""

    def __init__(self, shape: MapShape, num_blocks: int = 8, batch: int = 2) -> None:
        super().__init__()
        self.grid = shape.grid
        self.num_blocks = num_blocks
        self.register_buffer("entering", torch.randn(batch, shape.tokens, shape.channels))
        self.blocks = nn.ModuleList(
            nn.Linear(shape.channels, shape.channels) for _ in range(num_blocks)
        )
        self.calls: list[tuple[int, int]] = []

    def start(self) -> Tensor:
        return self.get_buffer("entering")

    def run(self, tokens: Tensor, first: int, last: int) -> Tensor:
        self.calls.append((first, last))
        for index in range(first, last):
            tokens = tokens + torch.tanh(self.blocks[index](tokens))
        return tokens

    def straight(self) -> Tensor:
        return self.run(self.start(), 0, self.num_blocks)


def random_maps(shapes: Sequence[MapShape], dtype: torch.dtype = torch.float32) -> list[FeatureMap]:
    return [FeatureMap(torch.randn(2, *shape, dtype=dtype)) for shape in shapes]


def scrambled(fusion: Fusion) -> Fusion:
    """The fusion with every parameter drawn anew, so that no zero of its start hides a mistake."""
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.normal_(std=0.1)
    return fusion
