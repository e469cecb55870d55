"""Convolutions before and after pooling to a smaller grid (Honeybee's C-Abstractor).

Cha et al. 2024 (arXiv 2312.06742): stages of RegNet with squeeze-and-excitation, as timm has them.
B batch, N tokens on a grid (H, W), C channels, D width of the language model.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import FeatureMap, Segment
from fusion_zoo.connectors._interface import (
    EachSegment,
    Grid,
    SegmentLayer,
    require_grid,
    square_side,
)


class CAbstractor(EachSegment):
    """`queries` tokens of every segment, on a square.

    inner: channels of both stages; depth: blocks of each; layers: linear ones, SiLU between them.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        queries: int = 144,
        inner: int = 1024,
        depth: int = 3,
        layers: int = 2,
    ) -> None:
        super().__init__(segments, grids, width)
        side = square_side(queries)
        if min(inner, depth, layers) < 1:
            raise ValueError("inner, depth and layers are at least 1")
        pairs = zip(self.segments, self.grids, strict=True)
        self.connect([_Abstractor(*pair, width, side, inner, depth, layers) for pair in pairs])


class _Abstractor(SegmentLayer):
    def __init__(
        self,
        segment: Segment,
        grid: Grid | None,
        width: int,
        side: int,
        inner: int,
        depth: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.given = require_grid(segment, grid)
        self.grid, self.num_tokens = (side, side), side * side
        self.places = nn.Parameter(torch.empty(segment.tokens, segment.channels))
        nn.init.trunc_normal_(self.places, std=0.02)
        self.before = stage(segment.channels, inner, depth)
        self.after = stage(inner, inner, depth)
        read: list[nn.Module] = [nn.Linear(inner, width)]
        for _ in range(layers - 1):
            read += [nn.SiLU(), nn.Linear(width, width)]
        self.read = nn.Sequential(*read)

    def flops(self, text_tokens: int = 0) -> int:
        rows, columns = self.given
        linear = sum(
            2 * layer.in_features * layer.out_features
            for layer in self.read
            if isinstance(layer, nn.Linear)
        )
        return (
            sum(block.flops(rows * columns) for block in self.before if isinstance(block, Block))
            + sum(block.flops(self.num_tokens) for block in self.after if isinstance(block, Block))
            + self.num_tokens * linear
        )

    def forward(self, tokens: Tensor) -> Tensor:
        assert self.grid is not None
        image = FeatureMap.from_tokens(tokens + self.places, self.given).tensor
        pooled = F.adaptive_avg_pool2d(self.before(image), self.grid)
        made: Tensor = self.read(FeatureMap(self.after(pooled)).tokens())
        return made


def stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    """So many blocks, the first of which changes the channels."""
    blocks = (Block(inputs if n == 0 else outputs, outputs) for n in range(depth))
    return nn.Sequential(*blocks)


class Block(nn.Module):
    """RegNet's bottleneck of depth-wise convolutions: (B,inputs,H,W) -> (B,outputs,H,W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = NormedConvolution(inputs, outputs, 1)
        self.second = NormedConvolution(outputs, outputs, 3, groups=outputs)
        squeezed = max(1, round(inputs / 4))
        self.squeeze = nn.Conv2d(outputs, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, outputs, 1)
        self.third = NormedConvolution(outputs, outputs, 1)
        self.shortcut = NormedConvolution(inputs, outputs, 1) if inputs != outputs else None
        self.widths = (inputs, outputs, squeezed)

    def flops(self, cells: int) -> int:
        inputs, outputs, squeezed = self.widths
        ways = 2 if self.shortcut else 1
        each = ways * inputs * outputs + 9 * outputs + outputs**2
        return 2 * (cells * each + 2 * outputs * squeezed)

    def forward(self, x: Tensor) -> Tensor:
        made = F.silu(self.second(F.silu(self.first(x))))
        gate = self.excite(F.silu(self.squeeze(made.mean((2, 3), keepdim=True))))
        made = self.third(made * gate.sigmoid())
        return F.silu(made + (self.shortcut(x) if self.shortcut else x))


class NormedConvolution(nn.Module):
    """A convolution without bias, and a norm over the channels of each cell."""

    def __init__(self, inputs: int, outputs: int, size: int, groups: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, size, padding=size // 2, groups=groups, bias=False
        )
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.norm(self.convolution(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return made
