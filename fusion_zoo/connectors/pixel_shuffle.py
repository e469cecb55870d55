"""Neighbouring tokens laid side by side as the channels of one, then linear layers.

InternVL (Chen et al. 2024), Idefics3 (Laurencon et al. 2024), Qwen2-VL (Wang et al. 2024),
InternLM-XComposer-2.5, Aya Vision and MiniGPT-v2 (Chen et al. 2023) differ in norms and layers.
B batch, N tokens on a grid (H, W), C channels, K = size * size, D width of the language model.
Channels of a token are [dy, dx, c]. Grids that size does not divide are padded with zeros at the
bottom and the right (VILA's mlp_downsample, which is `internvl` otherwise).
"""

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import FeatureMap, Segment
from fusion_zoo.connectors._interface import EachSegment, Grid, SegmentLayer, require_grid


class PixelShuffle(EachSegment):
    """ceil(H / size) * ceil(W / size) tokens of every segment.

    style: `internvl` (LN of K*C, Linear, GELU, Linear), `xcomposer` (the same without norm),
    `idefics3` (one Linear without bias), `qwen2_vl` (LN of C before, Linear to K*C, GELU, Linear),
    `aya` (a Linear to `gate`, halved into x and gate, SiLU(gate) * x, Linear) or `minigpt_v2` (the
    K tokens that follow one another in a row, one Linear). gate: width of Aya's first layer.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        size: int = 2,
        style: str = "internvl",
        gate: int = 36864,
    ) -> None:
        super().__init__(segments, grids, width)
        if style not in STYLES:
            raise ValueError(f"style '{style}' is none of {', '.join(STYLES)}")
        if size < 1 or gate < 2 or gate % 2:
            raise ValueError(f"size {size} is at least 1, and gate {gate} even")
        pairs = zip(self.segments, self.grids, strict=True)
        self.connect([_Shuffle(*pair, width, size, style, gate) for pair in pairs])


class _Gated(nn.Module):
    """Aya's: (..., C) -> (..., C / 2)."""

    def forward(self, x: Tensor) -> Tensor:
        x, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * x


class _Shuffle(SegmentLayer):
    def __init__(
        self, segment: Segment, grid: Grid | None, width: int, size: int, style: str, gate: int
    ) -> None:
        super().__init__()
        self.given = require_grid(segment, grid)
        height, columns = self.given
        self.size, self.in_rows = size, style == "minigpt_v2"
        if self.in_rows:
            if columns % size**2:
                raise ValueError(f"rows of {columns} tokens are no runs of {size**2}")
            self.grid = (height, columns // size**2)
        else:
            self.grid = (-(-height // size), -(-columns // size))
        self.num_tokens = self.grid[0] * self.grid[1]
        channels, merged = segment.channels, size**2 * segment.channels
        self.before = nn.LayerNorm(channels, eps=1e-6) if style == "qwen2_vl" else nn.Identity()
        self.layers = STYLES[style](merged, width, gate)

    def flops(self, text_tokens: int = 0) -> int:
        linear = (layer for layer in self.layers if isinstance(layer, nn.Linear))
        return sum(2 * self.num_tokens * layer.in_features * layer.out_features for layer in linear)

    def forward(self, tokens: Tensor) -> Tensor:
        made: Tensor = self.layers(self.merged(self.before(tokens)))
        return made

    def merged(self, tokens: Tensor) -> Tensor:
        """(B,N,C) -> (B, num_tokens, K*C)."""
        assert self.grid is not None
        if self.in_rows:
            return tokens.reshape(len(tokens), self.num_tokens, -1)
        (height, columns), size = self.given, self.size
        rows, across = self.grid
        image = FeatureMap.from_tokens(tokens, self.given).tensor
        image = F.pad(image, (0, across * size - columns, 0, rows * size - height))
        cells = image.reshape(len(tokens), -1, rows, size, across, size)
        return cells.permute(0, 2, 4, 3, 5, 1).reshape(len(tokens), self.num_tokens, -1)


Make = Callable[[int, int, int], nn.Sequential]
STYLES: Mapping[str, Make] = {
    "internvl": lambda merged, width, gate: nn.Sequential(
        nn.LayerNorm(merged), nn.Linear(merged, width), nn.GELU(), nn.Linear(width, width)
    ),
    "xcomposer": lambda merged, width, gate: nn.Sequential(
        nn.Linear(merged, width), nn.GELU(), nn.Linear(width, width)
    ),
    "idefics3": lambda merged, width, gate: nn.Sequential(nn.Linear(merged, width, bias=False)),
    "qwen2_vl": lambda merged, width, gate: nn.Sequential(
        nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, width)
    ),
    "aya": lambda merged, width, gate: nn.Sequential(
        nn.Linear(merged, gate), _Gated(), nn.Linear(gate // 2, width)
    ),
    "minigpt_v2": lambda merged, width, gate: nn.Sequential(nn.Linear(merged, width)),
}
