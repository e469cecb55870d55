"""Adapters between the base's blocks mix the other maps in (LLaVA-HR's mixture of resolutions).

B batch, N tokens of the base, C channels, H W grid; "fast" is the base, "slow" another expert.

LLaVA-HR (Luo et al. 2024), section 3, and its code. The base's blocks are cut in quarters; after
each of the first three an adapter adds the slow map, scaled by one gate for the image; after the
last, two linear layers align fast and slow. Adapters start as the identity.

Our own, beyond the published two square towers: more slow experts each get their own adapters,
applied in the mixture's order, and their own linear layer in the final sum; where the quarters are
uneven they differ by one block; slow grids that do not divide the base's are pooled adaptively; a
base whose grid is not the wanted one is resized at the end (bilinear, align_corners=True). The
base alone runs straight through, with nothing to align.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._interface import (
    BlockwiseBase,
    FeatureMap,
    Fusion,
    MapShape,
    Segment,
    at_least_fp32,
    resize_flops,
    resize_map,
)


class LlavaHr(Fusion):
    """H*W tokens of the base's channels."""

    reaches_inside_base: ClassVar[bool] = True

    def __init__(self, shapes: Sequence[MapShape], grid: tuple[int, int]) -> None:
        super().__init__(shapes, grid)
        fast, *slow = self.shapes
        height, width = self.grid
        self.segments = (Segment(height * width, fast.channels),)
        self.adapters = nn.ModuleList(
            Adapter(fast.channels, shape.channels) for _ in range(3) for shape in slow
        )
        self.align_fast = nn.Linear(fast.channels, fast.channels) if slow else nn.Identity()
        self.align_slow = nn.ModuleList(nn.Linear(shape.channels, fast.channels) for shape in slow)

    def flops(self) -> int:
        fast, *slow = self.shapes
        total = resize_flops(fast, self.grid)
        if slow:
            total += 2 * fast.tokens * fast.channels**2
        for shape in slow:
            proposed = MapShape(fast.channels, *shape.grid)
            adapter = (
                2 * shape.tokens * shape.channels * (shape.channels + fast.channels)
                + align_flops(proposed, fast.grid)
                + 2 * fast.tokens * fast.channels * (49 + fast.channels)
                + 2 * (2 * fast.channels + 1) * (fast.channels // 2)
            )
            total += 3 * adapter + align_flops(shape, fast.grid)
            total += 2 * fast.tokens * shape.channels * fast.channels
        return total

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        grid = self.shapes[0].grid
        if base is None or base.grid != grid:
            raise ValueError(f"llava_hr needs the blocks of a base on a {grid} grid")
        slow = [feature.tensor for feature in maps[1:]]
        cuts = [base.num_blocks * quarter // 4 for quarter in range(5)]
        tokens = base.start()
        for quarter, (first, last) in enumerate(pairwise(cuts)):
            tokens = base.run(tokens, first, last)
            if quarter < 3:
                for number, x in enumerate(slow):
                    tokens = self.adapters[quarter * len(slow) + number](tokens, x, grid)
        fused = self.align_fast(tokens)
        for number, linear in enumerate(self.align_slow):
            fused = fused + linear(FeatureMap(align(slow[number], grid)).tokens())
        final = FeatureMap.from_tokens(fused, grid).tensor
        return [FeatureMap(resize_map(final, self.grid, align_corners=True)).tokens()]


class Adapter(nn.Module):
    """Adds a slow map (B,Cs,h,w) to fast tokens (B,N,Cf), gated by both."""

    def __init__(self, fast: int, slow: int) -> None:
        super().__init__()
        self.slow_conv = nn.Conv2d(slow, slow, 1)
        self.slow_proj = nn.Conv2d(slow, fast, 1)
        self.fast_conv = nn.Conv2d(fast, fast, 7, padding=3, groups=fast)
        self.fast_proj = nn.Conv2d(fast, fast, 1)
        self.gate = nn.Sequential(
            nn.Linear(2 * fast, fast // 2), nn.GELU(), nn.Linear(fast // 2, 1), nn.Tanh()
        )
        for conv in (self.slow_conv, self.fast_conv):
            nn.init.xavier_uniform_(conv.weight)
        for proj in (self.slow_proj, self.fast_proj):
            nn.init.zeros_(proj.weight)
        for conv in (self.slow_conv, self.slow_proj, self.fast_conv, self.fast_proj):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, tokens: Tensor, slow: Tensor, grid: tuple[int, int]) -> Tensor:
        proposed = self.slow_proj(F.gelu(self.slow_conv(slow)))
        slow_tokens = FeatureMap(align(proposed, grid)).tokens()
        fast = FeatureMap.from_tokens(tokens, grid).tensor
        fast_tokens = FeatureMap(fast + self.fast_proj(F.gelu(self.fast_conv(fast)))).tokens()
        gate = self.gate(torch.cat([fast_tokens, slow_tokens], dim=-1).mean(dim=1, keepdim=True))
        fused: Tensor = fast_tokens + gate * slow_tokens
        return fused


def align(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map (B,C,H,W) on `grid`: averaged along a finer axis, interpolated along a coarser one."""
    pooled = _pooled(MapShape(*x.shape[1:]), grid)
    if x.shape[-2:] != pooled:
        x = F.adaptive_avg_pool2d(at_least_fp32(x), pooled).to(x.dtype)
    return resize_map(x, grid, align_corners=True)


def align_flops(shape: MapShape, grid: tuple[int, int]) -> int:
    return resize_flops(MapShape(shape.channels, *_pooled(shape, grid)), grid)


def _pooled(shape: MapShape, grid: tuple[int, int]) -> tuple[int, int]:
    return min(shape.height, grid[0]), min(shape.width, grid[1])
