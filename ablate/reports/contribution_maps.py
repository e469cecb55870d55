"""A picture of where each expert of a mixture finds what speaks for an answer, and against it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ablate.reports.drawing import STYLE

SIDE = 2.4
"""Inches of each panel."""


class Explained(NamedTuple):
    """What a candidate answered about a picture (H,W,3), as it saw it, and by expert the (H,W)
    contributions to that."""

    candidate: str
    answer: str
    pixels: NDArray[np.uint8]
    maps: Mapping[str, NDArray[np.float32]]


@matplotlib.rc_context(STYLE)
def contribution_maps(heading: str, answers: Sequence[Explained]) -> Figure:
    """A row a candidate: the picture as it is, then behind each expert's map.

    Red speaks for the answer, blue against it; the maps of a row are on one scale. Their cells are
    those of the expert's own grid.
    """
    columns = 1 + max(len(answer.maps) for answer in answers)
    size = columns * SIDE, len(answers) * (SIDE + 0.4) + 0.4
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading, fontsize=10)
    panels = figure.subplots(len(answers), columns, squeeze=False)
    for panel in panels.ravel():
        panel.set_axis_off()
    for row, answer in zip(panels, answers, strict=True):
        row[0].imshow(answer.pixels)
        row[0].set_title(answer.answer, fontsize=9)
        most = max((float(np.abs(map_).max()) for map_ in answer.maps.values()), default=0.0)
        for panel, (title, map_) in zip(row[1:], answer.maps.items(), strict=False):
            _behind(panel, answer.pixels, map_, most or 1.0)
            panel.set_title(title, fontsize=9)
    return figure


def _behind(panel: Axes, pixels: NDArray[np.uint8], map_: NDArray[np.float32], most: float) -> None:
    """A map over the picture in pale grey."""
    height, width = pixels.shape[:2]
    panel.imshow(pixels.mean(-1), cmap="gray", vmin=-255, vmax=255)
    panel.imshow(
        map_,
        cmap="RdBu_r",
        vmin=-most,
        vmax=most,
        alpha=0.6,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
