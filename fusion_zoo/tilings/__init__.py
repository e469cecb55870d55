"""Ways to look at an image in several views, a file each: tiles of it, and the whole.

    tiling = TILINGS.build("internvl", 448, max_tiles=6)   # views of 448 pixels a side
    tiling.num_views((1920, 1080))                         # of an image of that width and height

Every encoder of a mixture sees every view. A tiling is arithmetic on the sizes of images: its file
imports no torch, so that a plan may ask it; `_views` has what is done to pixels and tokens. Another
package adds its own through the entry-point group `ablate.tilings`. Nothing heavy is imported
before one is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusion_zoo._registry import Registry

if TYPE_CHECKING:
    from ._interface import Canvas, Grid, Order, Size, Tiling, Whole, newlines, raster
    from ._views import assemble, cut, hold_marks, uncut

__all__ = [
    "TILINGS",
    "Canvas",
    "Grid",
    "Order",
    "Size",
    "Tiling",
    "Whole",
    "assemble",
    "cut",
    "hold_marks",
    "newlines",
    "raster",
    "tiling_of",
    "uncut",
]


_OF_VIEWS = ("assemble", "cut", "hold_marks", "uncut")


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "_views" if name in _OF_VIEWS else "_interface"
        return getattr(import_module(f"fusion_zoo.tilings.{module}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


TILINGS = Registry("tiling", "ablate.tilings", __name__)


def tiling_of(choice: Mapping[str, Any], side: int) -> Tiling:
    """The tiling of a name with options, `none` for images seen whole; `side` of its views.

    ValueError for an unknown name or option, or one that makes no sense.
    """
    from ._interface import Whole

    options = {**choice}
    name = options.pop("name")
    tiling: Tiling = Whole(side) if name == "none" else TILINGS.build(name, side, **options)
    return tiling
