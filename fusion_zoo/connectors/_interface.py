"""What every connector takes and gives.

B batch, L visual tokens, D width of the language model; of segment i: N_i tokens, C_i channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import ClassVar

import torch
from torch import Tensor, nn

from fusion_zoo._interface import Instruction, Segment

Grid = tuple[int, int]


class Connector(nn.Module):
    """A fusion's segments in, one sequence of tokens of the language model's width out.

    A subclass calls `super().__init__(segments, grids, width)`, sets `num_tokens` and defines
    `flops` and `forward`. `segments`: what the fusion gives; `grids`: the (H, W) of each, whose
    tokens are row-major, or None for one whose tokens have no place in the image; `width`: D.
    ValueError where it cannot take them. No parameter is a scalar: FSDP cannot share one out.

    - `num_tokens`: L, what it makes of an image; `grid`: their (H, W), if they have one.
    - `asks_instruction`: its `forward` takes `context`, the `Instruction` of each image, too.
    - `grows`: whether a wider one, given zeros for the channels that are new, is the narrower one:
      only the last axis of its tensors depends on a segment's channels.
    """

    grows: ClassVar[bool] = False
    asks_instruction: bool = False
    num_tokens: int
    grid: Grid | None = None

    def __init__(
        self, segments: Sequence[Segment], grids: Sequence[Grid | None], width: int
    ) -> None:
        super().__init__()
        self.segments = tuple(Segment(*segment) for segment in segments)
        self.grids = tuple(grids)
        self.width = width
        for segment, grid in zip(self.segments, self.grids, strict=True):
            if grid is not None and grid[0] * grid[1] != segment.tokens:
                raise ValueError(f"{segment.tokens} tokens are no grid of {grid[0]}x{grid[1]}")

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops(self, text_tokens: int = 0) -> int:
        """Operations of one image's forward pass, counted as a fusion's; `text_tokens`: of its
        instruction, for one that asks for it."""
        raise NotImplementedError

    def __call__(self, segments: Sequence[Tensor], context: Instruction | None = None) -> Tensor:
        """(B,N_i,C_i) a segment -> (B,L,D). ValueError unless they are what it was built for."""
        given = tuple(Segment(*tokens.shape[1:]) for tokens in segments)
        if given != self.segments:
            raise ValueError(f"built for segments {self.segments}, given {given}")
        more = {"context": context} if self.asks_instruction else {}
        if self.asks_instruction and context is None:
            raise ValueError(f"{type(self).__name__} asks for the instruction of each image")
        tokens: Tensor = super().__call__(segments, **more)
        return tokens

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        """(B,N_i,C_i) a segment, which was checked -> (B,L,D)."""
        raise NotImplementedError


class SegmentLayer(nn.Module):
    """What a connector has for one segment: (B,N,C) -> (B, num_tokens, D)."""

    num_tokens: int
    grid: Grid | None = None

    def flops(self, text_tokens: int = 0) -> int:
        raise NotImplementedError


class EachSegment(Connector):
    """A connector with a layer of its own for every segment; their tokens follow one another.

    A subclass calls `super().__init__(segments, grids, width)` and then `connect(layers)`.
    """

    def connect(self, layers: Sequence[SegmentLayer]) -> None:
        self.layers = nn.ModuleList(layers)
        self.num_tokens = sum(layer.num_tokens for layer in layers)
        self.grid = layers[0].grid if len(layers) == 1 else None

    def flops(self, text_tokens: int = 0) -> int:
        return sum(
            layer.flops(text_tokens) for layer in self.layers if isinstance(layer, SegmentLayer)
        )

    def forward(self, segments: Sequence[Tensor], context: Instruction | None = None) -> Tensor:
        more = {"context": context} if self.asks_instruction else {}
        pairs = zip(self.layers, segments, strict=True)
        return torch.cat([layer(tokens, **more) for layer, tokens in pairs], dim=1)


def require_grid(segment: Segment, grid: Grid | None) -> Grid:
    """The grid of a segment's tokens; ValueError where they have none."""
    if grid is None:
        raise ValueError(f"{segment.tokens} tokens of the fusion have no places on a grid")
    return grid


def square_side(queries: int) -> int:
    """The side of a square of so many queries; ValueError where they make none."""
    if queries < 1 or isqrt(queries) ** 2 != queries:
        raise ValueError(f"{queries} queries are no square")
    return isqrt(queries)
