"""Ways to look at an image in several views, a file each: tiles of it, and the whole.

    tiling = TILINGS.build("internvl", 448, max_tiles=6)   # views of 448 pixels a side
    tiling.num_views((1920, 1080))                         # of an image of that width and height

Every encoder of a mixture sees every view. A tiling is arithmetic on the sizes of images: its file
imports no torch, so that a plan may ask it; `_views` has what is done to pixels and tokens. Another
package adds its own through the entry-point group `ablate.tilings`.
"""

from fusion_zoo._registry import Registry

from ._interface import Canvas, Grid, Order, Size, Tiling, Whole, newlines, raster

__all__ = [
    "TILINGS",
    "Canvas",
    "Grid",
    "Order",
    "Size",
    "Tiling",
    "Whole",
    "newlines",
    "raster",
]

TILINGS = Registry("tiling", "ablate.tilings", __name__)
