"""Each base token samples the other maps where it chooses (deformable attention).

B batch, N tokens, C channels, H W grid, M heads, L levels, P points.

Eagle (Shi et al. 2024) puts deformable attention in the place of Mini-Gemini's window, but released
no code for it. The attention is multi-scale deformable attention as in Deformable DETR (Zhu et al.
2021), section 4.1, and its code, initialisation included; the placement is ours: one level for each
further expert, normed and brought to the base's width; queries Linear(LN(Q)), reference points at
the centres of the query grid's cells, and the result added to Q. Any number of further experts is
any number of levels. The base alone is handed on unchanged.
"""

from collections.abc import Sequence
from math import pi, prod

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
    norm_linear,
    resize_flops,
    resize_map,
)


class Deformable(Fusion):
    """H*W tokens of the base's channels.

    heads: must divide the base's channels.
    points: samples for each head, level and token.
    """

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        *,
        heads: int = 8,
        points: int = 4,
    ) -> None:
        super().__init__(shapes, grid)
        (width, *_), *further = self.shapes
        if heads < 1 or points < 1:
            raise ValueError(f"heads and points are 1 or more, got {heads} and {points}")
        if width % heads:
            fitting = min(
                (n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads)
            )
            raise ValueError(
                f"{heads} heads do not divide the base's {width} channels; {fitting} do"
            )
        self.segments = (Segment(self.grid[0] * self.grid[1], width),)
        self.samples = (heads, len(further), points)
        if further:
            count = heads * len(further) * points
            self.query = norm_linear(width, width)
            self.levels = nn.ModuleList(norm_linear(shape.channels, width) for shape in further)
            self.value = nn.Linear(width, width)
            self.offsets = nn.Linear(width, count * 2)
            self.weights = nn.Linear(width, count)
            self.output = nn.Linear(width, width)
            start_as_published(self.value, self.offsets, self.weights, self.output, self.samples)

    def flops(self) -> int:
        (width, *_), *further = self.shapes
        total = resize_flops(self.shapes[0], self.grid)
        if further:
            count = prod(self.samples)
            total += 2 * self.num_tokens * width * (2 * width + 3 * count)
            total += sum(2 * s.tokens * width * (s.channels + width) for s in further)
            # Four corners and a weight for each sampled value; a head's are width / heads.
            total += 10 * self.num_tokens * count * (width // self.samples[0])
        return total

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        tokens = FeatureMap(resize_map(maps[0].tensor, self.grid, align_corners=False)).tokens()
        if len(maps) == 1:
            return [tokens]
        query = self.query(tokens)
        batch, count, _ = query.shape
        # Positions in bf16 would be off by a good part of a cell.
        offsets = at_least_fp32(self.offsets(query)).reshape(batch, count, *self.samples, 2)
        logits = at_least_fp32(self.weights(query)).reshape(batch, count, self.samples[0], -1)
        weights = logits.softmax(dim=-1).reshape(batch, count, *self.samples)
        centres = cell_centres(self.grid, offsets)
        total = torch.zeros_like(query, dtype=offsets.dtype)
        for number, level in enumerate(self.levels):
            grid = self.shapes[number + 1].grid
            values = self.value(level(maps[number + 1].tokens())).to(offsets.dtype)
            places = centres + offsets[:, :, :, number] / offsets.new_tensor(grid[::-1])
            total = total + sample(
                FeatureMap.from_tokens(values, grid), places, weights[:, :, :, number]
            )
        return [tokens + self.output(total.to(query.dtype))]


def start_as_published(
    value: nn.Linear,
    offsets: nn.Linear,
    weights: nn.Linear,
    output: nn.Linear,
    samples: tuple[int, int, int],
) -> None:
    """Heads look in different directions, points one step further each, on every map alike.

    samples: M heads, maps, P points; `offsets` has two values, x and y, for each of them.
    """
    for linear in (value, output):
        nn.init.xavier_uniform_(linear.weight)
    for linear in (offsets, weights):
        nn.init.zeros_(linear.weight)
    for linear in (value, weights, output):
        nn.init.zeros_(linear.bias)
    heads, _, points = samples
    angles = 2 * pi * torch.arange(heads) / heads
    unit = torch.stack([angles.cos(), angles.sin()], dim=-1)
    unit = unit / unit.abs().amax(dim=-1, keepdim=True)
    steps = torch.arange(1, points + 1)[:, None]
    directions = (unit[:, None, None] * steps).expand(*samples, 2)
    with torch.no_grad():
        offsets.bias.copy_(directions.flatten())


def cell_centres(grid: tuple[int, int], like: Tensor) -> Tensor:
    """Centres (H*W,1,1,2) of a grid's cells as (x,y) in [0,1], row-major."""
    height, width = grid
    y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
    x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 1, 2)


def sample(values: FeatureMap, places: Tensor, weights: Tensor) -> Tensor:
    """Each head's weighted sum of its channels at its places: (B,N,C).

    places (B,N,M,P,2) as (x,y) in [0,1], zero outside; weights (B,N,M,P).
    """
    batch, count, heads, points = weights.shape
    image = values.tensor.reshape(batch * heads, -1, *values.shape.grid)
    where = (2 * places - 1).transpose(1, 2).reshape(batch * heads, count, points, 2)
    sampled = F.grid_sample(image, where, align_corners=False)
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, count, points)
    return (sampled * weights).sum(dim=-1).reshape(batch, -1, count).transpose(1, 2)
