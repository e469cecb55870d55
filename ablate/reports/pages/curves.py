"""Loss curves as points of a small SVG: a thousand pages of them are made in seconds.

The smoothed line is a mean over a window around each step, which at the end is that of the last
steps alone: it does not lag behind a loss that falls, as a moving average does.
"""

from dataclasses import dataclass

import pandas as pd

from ablate.reports.losses import points_of
from ablate.reports.model import StepResult

WIDTH, HEIGHT = 300.0, 120.0
MOST = 300  # points of a line
WINDOW = 0.05  # of all points: those that a point of the smoothed line is the mean of


@dataclass(frozen=True)
class Curve:
    """A step's loss: both lines as `x,y x,y ...` in a box of `WIDTH` by `HEIGHT`, and its ends.

    `steps`: how many there were; `last`: the loss of the last; `mean`: that of the last `over`.
    """

    raw: str
    smooth: str
    top: str
    steps: str
    last: str
    mean: str
    over: int


def curve(step: StepResult) -> Curve | None:
    """The loss of a step, from 0 to its largest value; `None` without a log of it."""
    points = [*points_of(step)]
    if not points:
        return None
    steps, losses = (pd.Series(each, dtype=float) for each in zip(*points, strict=True))
    over = max(1, round(WINDOW * len(losses)))
    mean = losses.rolling(2 * over - 1, center=True, min_periods=1).mean()
    top = max(float(losses.max()), 1e-9)
    wide = (steps - steps.iloc[0]) * (WIDTH / max(float(steps.iloc[-1] - steps.iloc[0]), 1.0))
    xs = wide.tolist()
    kept = [*range(0, len(losses) - 1, -(-len(losses) // MOST)), len(losses) - 1]

    def line(values: pd.Series) -> str:
        ys = (HEIGHT * (1 - values / top)).tolist()
        return " ".join(f"{xs[index]:.1f},{ys[index]:.1f}" for index in kept)

    return Curve(
        line(losses),
        line(mean),
        f"{top:.2f}",
        f"{int(steps.iloc[-1]):,}",
        f"{losses.iloc[-1]:.3g}",
        f"{mean.iloc[-1]:.3g}",
        over,
    )
