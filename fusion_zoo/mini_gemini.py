"""Each base token looks into its own window of the other maps (Mini-Gemini's patch info mining).

B batch, N tokens, C channels, H W grid, P keys of a window.

Mini-Gemini (Li et al. 2024), section 3.2, and its code (Q + single-head attention over the p x p
window below each token of Q; no gate, no output projection). The high-resolution side is the other
maps, bilinearly resized (align_corners=False, fp32) to p times the query grid and concatenated on
channels, as the published code does with the four stages of its one ConvNeXt. The published
nan_to_num on the logits is left out, as it would hide a diverged run.

Our own, beyond the published one further encoder and square grids: every further expert joins that
concatenation; p is chosen for each axis; maps that are no multiple of the grid are resized to one,
where the published code fails. The base alone is handed on unchanged.
"""

from collections.abc import Sequence
from math import ceil, sqrt

import torch
from torch import Tensor

from ._interface import (
    BlockwiseBase,
    FeatureMap,
    Fusion,
    MapShape,
    Segment,
    norm_linear,
    resize_flops,
    resize_map,
)


class MiniGemini(Fusion):
    """H*W tokens of the base's channels.

    window: keys along each side of a window; 0 is the smallest that loses nothing of the finest
        map, which is the published rule where maps are multiples of the grid. A window of one key
        leaves nothing to choose (see `notes`).
    """

    def __init__(
        self, shapes: Sequence[MapShape], grid: tuple[int, int], *, window: int = 0
    ) -> None:
        super().__init__(shapes, grid)
        if window < 0:
            raise ValueError(f"window is 0 or more keys, got {window}")
        base, *further = self.shapes
        height, width = self.grid
        self.segments = (Segment(height * width, base.channels),)
        self.window = (
            window or max((ceil(shape.height / height) for shape in further), default=1),
            window or max((ceil(shape.width / width) for shape in further), default=1),
        )
        self.fine_grid = (height * self.window[0], width * self.window[1])
        if further:
            channels = sum(shape.channels for shape in further)
            self.query = norm_linear(base.channels, base.channels)
            self.key = norm_linear(channels, base.channels)
            self.value = norm_linear(channels, base.channels)

    def flops(self) -> int:
        base, *further = self.shapes
        total = resize_flops(base, self.grid)
        if further:
            keys = self.fine_grid[0] * self.fine_grid[1]
            total += sum(resize_flops(shape, self.fine_grid) for shape in further)
            total += 2 * self.num_tokens * base.channels**2
            total += 4 * keys * sum(shape.channels for shape in further) * base.channels
            total += 4 * keys * base.channels
        return total

    def notes(self) -> list[str]:
        if len(self.shapes) == 1 or self.window != (1, 1):
            return []
        idle = sum(
            parameter.numel() for part in (self.query, self.key) for parameter in part.parameters()
        )
        height, width = self.grid
        finer = any(shape.height > height or shape.width > width for shape in self.shapes[1:])
        why = "`window` is 1" if finer else f"no map is finer than the {height}x{width} tokens"
        return [
            f"Each token's window is one key ({why}): the softmax has nothing to choose, query and "
            f"key ({idle:,} parameters) get no gradient, and a token gets "
            "Linear(LayerNorm(experts)) added, whatever it asks for."
        ]

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        coarse = FeatureMap(resize_map(maps[0].tensor, self.grid, align_corners=False)).tokens()
        if len(maps) == 1:
            return [coarse]
        fine = [resize_map(m.tensor, self.fine_grid, align_corners=False) for m in maps[1:]]
        windows = self._windows(torch.cat(fine, dim=1))
        query = self.query(coarse).unsqueeze(2)
        key, value = self.key(windows), self.value(windows)
        weights = (query @ key.transpose(2, 3) / sqrt(query.shape[-1])).softmax(dim=-1)
        return [coarse + (weights @ value).squeeze(2)]

    def _windows(self, x: Tensor) -> Tensor:
        """(B,C,H*p,W*q) to (B,N,P,C), P = p*q, row-major within a window: the only copy made."""
        (height, width), (rows, columns) = self.grid, self.window
        split = x.reshape(*x.shape[:2], height, rows, width, columns)
        return split.permute(0, 2, 4, 3, 5, 1).reshape(len(x), height * width, rows * columns, -1)
