"""A map of a page of the drawn world: a channel a kind of thing, and a number of dots.

Shapes: G cells a side.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ablate.annotators._cells import CellObserver
from ablate.annotators._interface import Map, MapAnnotator, Pixels
from ablate.annotators.micro_detector import MicroDetector
from ablate.data.world.scenes import GRID

RESOLUTION = 64
WIDTH = 64


class MicroKinds(CellObserver, MapAnnotator):
    """What `micro_detector` finds, as (K,G,G): 255 in the channels of what a cell holds."""

    encoder: ClassVar[str] = MicroDetector.encoder
    head: ClassVar[str] = MicroDetector.head
    attributes: ClassVar[Mapping[str, tuple[str, ...]]] = MicroDetector.attributes
    channels = sum(map(len, attributes.values()))

    def draw(self, images: Sequence[Pixels]) -> Sequence[Map]:
        import numpy as np

        kinds, dots = self.attributes["kind"], self.attributes["dots"]
        maps = np.zeros((len(images), self.channels, GRID * GRID), dtype=np.uint8)
        for page, cells in enumerate(self.cells(images)):
            for number, cell in enumerate(cells):
                maps[page, kinds.index(cell["kind"]), number] = 255
                if cell["kind"] == "dots":
                    maps[page, len(kinds) + dots.index(cell["dots"]), number] = 255
        return [*maps.reshape(-1, self.channels, GRID, GRID)]
