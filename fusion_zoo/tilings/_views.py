"""What tilings do to pixels and to tokens.

Shapes: I images, V views and U units of all of them, S pixels of a view's side, L tokens of a unit,
H W pixels of an image, D width, K marks, T tokens of all images.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._interface import Canvas, Order, Tiling


def cut(image: Tensor, tiling: Tiling) -> Tensor:
    """The views (V,3,S,S) uint8 of an image (3,H,W) uint8.

    Resized bicubic and antialiased, in whole numbers as Pillow does it and transformers.
    """
    height, width = image.shape[-2:]
    tiles = [_tiles(image, canvas, tiling.fill) for canvas in tiling.canvases((width, height))]
    return torch.cat(tiles)


def _tiles(image: Tensor, canvas: Canvas, fill: tuple[int, int, int]) -> Tensor:
    (wide, high), (left, top) = canvas.image, canvas.corner
    if image.shape[-2:] != (high, wide):
        image = F.interpolate(image[None], (high, wide), mode="bicubic", antialias=True)[0]
    if canvas.image != canvas.size:
        whole = image.new_tensor(fill)[:, None, None].repeat(1, *canvas.size[::-1])
        whole[:, top : top + high, left : left + wide] = image
        image = whole
    (columns, rows), (wide, high) = canvas.tiles, canvas.size
    tiles = image.reshape(3, rows, high // rows, columns, wide // columns)
    return tiles.permute(1, 3, 0, 2, 4).flatten(0, 1)


def uncut(views: Tensor, canvases: Sequence[Canvas]) -> Tensor:
    """What is found at each place of an image's views (V,H,W) as one map of it, the sum of what its
    `canvases` say: as fine as the one of the most tiles.

    What a place of another has is shared by those that it covers, by their areas. What lies where a
    canvas is filled is left out.
    """
    height, width = views.shape[1:]
    finest = max(canvases, key=lambda canvas: canvas.num_tiles)
    across, down = (
        max(1, round(tiles * cells * inside / length))
        for tiles, cells, inside, length in zip(
            finest.tiles, (width, height), finest.image, finest.size, strict=True
        )
    )
    whole = views.new_zeros(down, across)
    numbers = [canvas.num_tiles for canvas in canvases]
    for canvas, tiles in zip(canvases, torch.split(views, numbers), strict=True):
        columns, rows = canvas.tiles
        laid = tiles.reshape(rows, columns, height, width).transpose(1, 2).flatten(2).flatten(0, 1)
        (left, top), (wide, high) = canvas.corner, canvas.image
        downwards = _shares(rows * height, canvas.size[1], top, high, down).to(laid)
        sideways = _shares(columns * width, canvas.size[0], left, wide, across).to(laid)
        whole += downwards @ laid @ sideways.T
    return whole


def _shares(cells: int, length: int, start: int, inside: int, places: int) -> Tensor:
    """(places, cells) which share of each of so many cells of a canvas's side, of this `length`,
    lies in each of as many places of an image that is `inside` long and begins at `start`."""
    of_cells = (torch.arange(cells + 1) * length - start * cells) * places  # in whole numbers
    of_places = torch.arange(places + 1)[:, None] * inside * cells
    overlap = torch.minimum(of_cells[1:], of_places[1:]) - torch.maximum(
        of_cells[:-1], of_places[:-1]
    )
    return overlap.clamp(min=0) / (length * places)


def hold_marks(connector: nn.Module, tiling: Tiling, width: int) -> None:
    """Have a connector hold the tokens (K,D) of a tiling as its `marks`, if there are any.

    They start as LLaVA-NeXT's newline does, normal and 1/sqrt(D) wide.
    """
    if tiling.marks:
        start = torch.randn(len(tiling.marks), width) / width**0.5
        connector.register_parameter("marks", nn.Parameter(start))


def assemble(
    units: Tensor, marks: Tensor | None, counts: Sequence[int], orders: Sequence[Order]
) -> Tensor:
    """The tokens (T,D) of all images, end to end, as each one's order says.

    units: (U,L,D), `counts` of them of each image; marks: (K,D), the tiling's, if it has any.
    """
    tokens = units.flatten(0, 1)
    firsts = (np.cumsum(counts) - counts) * units.shape[1]
    picks = [
        np.where(order < 0, len(tokens) - 1 - order, first + order)
        for first, order in zip(firsts, orders, strict=True)
    ]
    held = tokens if marks is None else torch.cat([tokens, marks.to(tokens.dtype)])
    return held[torch.from_numpy(np.concatenate(picks)).to(held.device)]
