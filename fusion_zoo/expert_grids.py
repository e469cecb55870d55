"""Every map on a grid of its own, appended one expert after another: a budget of tokens an expert.

B batch, N tokens, C channels, H W grid.

For connectors that take experts as they are (Cambrian's SVA, BRAVE's MEQ-Former), and to ask what
an expert's tokens are worth (MouSi, Fan et al. 2024, section 3.3, gives SAM 64 of 4,096 tokens).
"""

from collections.abc import Sequence
from math import prod

import torch.nn.functional as F
from torch import Tensor

from ._interface import BlockwiseBase, FeatureMap, Fusion, MapShape, Segment


class ExpertGrids(Fusion):
    """A segment of each map's channels for each expert, the base's first.

    budgets: `own` leaves every map as it is; else the grids of all maps, height first, such as
    `16x16,16x16,8x8`: each of their tokens is the mean over its share of the map. The design's grid
    is not used.
    """

    def __init__(
        self, shapes: Sequence[MapShape], grid: tuple[int, int], *, budgets: str = "own"
    ) -> None:
        super().__init__(shapes, grid)
        self.sizes = _sizes(budgets, self.shapes)
        self.segments = tuple(
            Segment(prod(size), shape.channels)
            for size, shape in zip(self.sizes, self.shapes, strict=True)
        )

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        return self.sizes

    def flops(self) -> int:
        return 0

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        return [
            FeatureMap(F.adaptive_avg_pool2d(feature_map.tensor, size)).tokens()
            for feature_map, size in zip(maps, self.sizes, strict=True)
        ]


def _sizes(budgets: str, shapes: Sequence[MapShape]) -> tuple[tuple[int, int], ...]:
    if budgets == "own":
        return tuple(shape.grid for shape in shapes)
    try:
        height_and_width = [
            [int(side) for side in budget.split("x")] for budget in budgets.split(",")
        ]
        sizes = tuple((height, width) for height, width in height_and_width)
    except ValueError:
        raise ValueError(f"budgets '{budgets}' are neither own nor such as 16x16,8x8") from None
    if len(sizes) != len(shapes) or min(map(min, sizes)) < 1:
        raise ValueError(f"budgets '{budgets}' are not a grid for each of {len(shapes)} maps")
    return sizes
