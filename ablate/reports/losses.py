"""The losses of a study's candidates in one figure."""

import json
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ablate.reports.drawing import ACCENT, INK, SECOND, STYLE, canvas
from ablate.reports.labels import Name, in_round, name_beside
from ablate.reports.model import CandidateResult, StepResult, StudyResult, best_first

METRICS = "metrics.jsonl"
"""Of a step: its losses, a line each."""
LINES = 8
"""Lines of the figure at most."""
WINDOW = 0.05
"""Of all steps: those that a point of a line is the mean of, at its end."""


@matplotlib.rc_context(STYLE)
def losses(study: StudyResult) -> Figure:
    """The loss of the last stage by step: the base's, and those of the best, `LINES` in all.

    A mean over the twentieth of the steps around each; of several seeds the first's.
    """
    others = [
        candidate for candidate in best_first(study.candidates) if candidate is not study.base
    ]
    known = ((candidate, curve_of(candidate)) for candidate in (study.base, *others))
    shown = list(
        islice(((candidate, curve) for candidate, curve in known if curve is not None), LINES)
    )
    figure, axes = canvas(3.4)
    ends = []
    for index, (candidate, values) in enumerate(shown):
        over = max(1, round(WINDOW * len(values)))
        mean = values.rolling(2 * over - 1, center=True, min_periods=1).mean()
        best, base = candidate is study.best, candidate is study.base
        color = ACCENT if best else INK if base else _OTHERS[index % len(_OTHERS)]
        axes.plot(
            mean.index, mean, color=color, linewidth=2.0 if best else 1.2,
            linestyle="--" if base else "-", zorder=3 if best else 2,
        )  # fmt: skip
        end = (float(mean.index[-1]), float(mean.iloc[-1]))
        ends.append(Name(end, in_round(study, candidate), best or base, color))
    axes.set_ylim(bottom=0.0)
    name_beside(axes, ends)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.margins(x=0.02)
    return figure


_OTHERS = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", SECOND)
"""Okabe and Ito's other colours; each line is named where it ends."""


def curve_of(candidate: CandidateResult) -> "pd.Series[float] | None":
    """The loss of a candidate's last stage by step; None without a log of it."""
    points = dict(points_of(candidate.last_stages[0])) if candidate.last_stages else {}
    return pd.Series(points, dtype=float) if points else None


def has_curve(candidate: CandidateResult) -> bool:
    """Whether there is a log of its last stage."""
    return bool(candidate.last_stages) and any(True for _ in points_of(candidate.last_stages[0]))


def points_of(step: StepResult) -> Iterator[tuple[int, float]]:
    """`(step, loss)` from a step's `metrics.jsonl`, in order; none without it."""
    path = step.folder / METRICS if step.folder else None
    if path is None or not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for row in (json.loads(line) for line in file if line.strip()):
            if _has_loss(row):
                yield int(row["step"]), float(row["loss"])


def _has_loss(row: dict[str, Any]) -> bool:
    loss = row.get("loss")
    return "step" in row and isinstance(loss, int | float) and isfinite(loss)
