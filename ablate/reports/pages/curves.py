"""Loss curves as points of a small SVG: a thousand pages of them are made in seconds."""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.reports.model import StepResult

WIDTH, HEIGHT = 300.0, 120.0
MOST = 300  # points of a line
_KEEP = 0.9  # of the moving average, from one step to the next


@dataclass(frozen=True)
class Curve:
    """A step's loss: both lines as `x,y x,y ...` in a box of `WIDTH` by `HEIGHT`, and its ends."""

    raw: str
    smooth: str
    top: str
    steps: str
    last: str


def curve(step: StepResult) -> Curve | None:
    """The loss of a step, from 0 to its largest value; `None` without a log of it."""
    points = _points(step.folder / "metrics.jsonl") if step.folder else []
    if not points:
        return None
    steps, losses = zip(*points, strict=True)
    raw = pd.Series(losses, dtype=float)
    smooth = raw.ewm(alpha=1 - _KEEP).mean()
    top = max(float(raw.max()), 1e-9)
    xs = pd.Series(steps, dtype=float)
    xs = (xs - xs.iloc[0]) * (WIDTH / max(float(xs.iloc[-1] - xs.iloc[0]), 1.0))

    def line(values: pd.Series) -> str:
        ys = HEIGHT * (1 - values / top)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))

    ends = (f"{top:.2f}", f"{steps[-1]:,}", f"{smooth.iloc[-1]:.2f}")
    return Curve(line(raw), line(smooth), *ends)


def _points(path: Path) -> list[tuple[int, float]]:
    """`(step, loss)` from a step's `metrics.jsonl`, thinned evenly to at most `MOST` of them."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    points = [(int(row["step"]), float(row["loss"])) for row in rows if _has_loss(row)]
    return points[:: -(-len(points) // MOST) or 1]


def _has_loss(row: dict[str, Any]) -> bool:
    loss = row.get("loss")
    return "step" in row and isinstance(loss, int | float) and isfinite(loss)
