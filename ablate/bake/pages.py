"""Drawn pages with what each cell, pixel and centre on them is: what the encoders are trained on.

Shapes: B batch, H W pixels of the canvas, G = 16 cells, row by row.
"""

from collections.abc import Mapping
from functools import cached_property
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ablate.data.world import scenes
from ablate.data.world.draw import CANVAS, CENTRES, Picture, draw_scene
from ablate.data.world.scenes import GRID, Position, Scene, sample_scene

# What a cell may be asked for, and the values it can take.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": scenes.COLOURS,
    "shape": scenes.SHAPES,
    "pattern": scenes.PATTERNS,
    "digit": scenes.DIGITS,
    "dots": scenes.DOTS,
    "level": scenes.LEVELS,
    "letter": scenes.LETTERS,
    "tens": scenes.DIGITS,
    "ones": scenes.DIGITS,
}
KIND_OF = {"digit": "number", "dots": "dots", "level": "bar", "tens": "field", "letter": "letter"}


class Pages:
    """A batch of drawn pages; what a task does not ask for is not made."""

    def __init__(self, drawn: list[Scene], pictures: list[Picture]) -> None:
        self.scenes, self._pictures = drawn, pictures

    @cached_property
    def pixels(self) -> Tensor:
        """(B,3,H,W) in [0,1]."""
        images = np.stack([np.asarray(picture.image) for picture in self._pictures])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255

    @cached_property
    def parts(self) -> Tensor:
        """(B,H,W) the index in `draw.PARTS` of each pixel's part."""
        parts = np.stack([np.asarray(picture.parts) for picture in self._pictures])
        return torch.from_numpy(parts).long()

    @cached_property
    def heat(self) -> Tensor:
        """(B,K,H,W) 1 at the centres of each of the K things in `draw.CENTRES`, else 0."""
        heat = torch.zeros(len(self._pictures), len(CENTRES), CANVAS, CANVAS)
        for row, picture in enumerate(self._pictures):
            for what, x, y in picture.centres:
                heat[row, what, y, x] = 1
        return heat

    def labels(self, attribute: str) -> Tensor:
        """(B,G) the index of each cell's value in `ATTRIBUTES`, -1 where it has none."""
        index = {value: number for number, value in enumerate(ATTRIBUTES[attribute])}
        labels = np.full((len(self.scenes), GRID, GRID), -1)
        for row, scene in enumerate(self.scenes):
            for position, cell in scene.cells.items():
                if attribute in cell:
                    labels[row, *position] = index[cell[attribute]]
        return torch.from_numpy(labels).flatten(1)


def crowded_scene(kind: str, rng: Random) -> Scene:
    """A scene whose 16 cells are all filled (colours repeat): more to learn from a page."""
    cells: dict[Position, dict[str, str]] = {}
    while len(cells) < GRID * GRID:
        for cell in sample_scene(kind, rng).cells.values():
            cells[divmod(len(cells) % (GRID * GRID), GRID)] = dict(cell)
    return Scene(kind, cells)


def draw_scenes(drawn: list[Scene], rng: Random, held_out: bool = False) -> Pages:
    """The scenes as one batch of pages."""
    return Pages(drawn, [draw_scene(scene, rng, held_out) for scene in drawn])


def draw_pages(
    kinds: tuple[str, ...], count: int, rng: Random, *, crowded: float = 0.7, held_out: bool = False
) -> Pages:
    """`count` random pages of the kinds, a share of them crowded."""
    drawn = []
    for _ in range(count):
        sample = crowded_scene if rng.random() < crowded else sample_scene
        drawn.append(sample(rng.choice(kinds), rng))
    return draw_scenes(drawn, rng, held_out)


def resized(pixels: Tensor, resolution: int) -> Tensor:
    """Pages as an encoder of that resolution sees them: one antialiased resize."""
    if pixels.shape[-1] == resolution:
        return pixels
    return F.interpolate(
        pixels, (resolution, resolution), mode="bilinear", antialias=True, align_corners=False
    )


def cell_kind(cell: Mapping[str, str]) -> str:
    """What the base's captions call a cell's content besides its colour."""
    return next((noun for attribute, noun in KIND_OF.items() if attribute in cell), "nothing")
