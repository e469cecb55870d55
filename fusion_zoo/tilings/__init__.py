"""Ways to cut an image into views that the whole mixture sees one by one, a file each.

Another package adds its own through the entry-point group `ablate.tilings`.
"""

from fusion_zoo._registry import Registry

__all__ = ["TILINGS"]

TILINGS = Registry("tiling", "ablate.tilings", __name__)
