"""A picture of where each expert of a mixture finds what speaks for an answer, and against it."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ablate.reports.drawing import STYLE

COLUMNS, SIDE = 4, 2.4
"""Panels in a row, and inches of each."""


@matplotlib.rc_context(STYLE)
def contribution_maps(
    pixels: NDArray[np.uint8], maps: Mapping[str, NDArray[np.float32]], heading: str
) -> Figure:
    """The picture (H,W,3) as it is, then behind each expert's map, all on one scale.

    Red speaks for the answer, blue against it; a map's cells are those of the expert's own grid.
    """
    rows = -(-(len(maps) + 1) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * SIDE, rows * (SIDE + 0.4) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading, fontsize=10)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    panels[0].imshow(pixels)
    panels[0].set_title("what it sees", fontsize=9)
    most = max((float(np.abs(found).max()) for found in maps.values()), default=0.0) or 1.0
    height, width = pixels.shape[:2]
    for panel, (title, found) in zip(panels[1:], maps.items(), strict=False):
        panel.imshow(pixels.mean(-1), cmap="gray", vmin=-255, vmax=255)
        panel.imshow(
            found,
            cmap="RdBu_r",
            vmin=-most,
            vmax=most,
            alpha=0.6,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="nearest",
        )
        panel.set_title(title, fontsize=9)
    return figure
