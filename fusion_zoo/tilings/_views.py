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
