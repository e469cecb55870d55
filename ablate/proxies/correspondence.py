"""Correspondence: whether the same thing is known again where it stands elsewhere in an image.

After the C score of "Law of Vision Representation" (Yang et al. 2024, arXiv 2408.16357), which
takes pairs of photographs with keypoints; ours needs none: an image and its mirror image.
"""

import numpy as np

from ablate.proxies._interface import Evidence, Floats, Proxy


class Correspondence(Proxy):
    """Share of places whose nearest place in the mirror image, by cosine, is where the same thing
    stands there, or next to it."""

    title = "correspondence"
    short = "CORR"

    def score(self, known: Evidence) -> float:
        here, there = (
            _unit([getattr(view, side) for view in known.views]) for side in ("grid", "mirrored")
        )
        images, height, width, _ = here.shape
        flat = (features.reshape(images, height * width, -1) for features in (here, there))
        nearest = np.einsum("mic,mjc->mij", *flat).argmax(2)
        row, column = np.divmod(np.arange(height * width), width)
        off = np.maximum(abs(nearest // width - row), abs(nearest % width - (width - 1 - column)))
        return float((off <= 1).mean())


def _unit(grids: list[Floats]) -> Floats:
    """(M,H,W,sum of C): each encoder's features, of the same length everywhere, side by side."""
    centred = [grid - grid.mean((0, 1, 2)) for grid in grids]
    norms = [np.linalg.norm(grid, axis=-1, keepdims=True).clip(min=1e-12) for grid in centred]
    return np.concatenate([g / n for g, n in zip(centred, norms, strict=True)], axis=-1)
