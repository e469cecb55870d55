"""Figures of a study (matplotlib, no display needed): the same input gives the same bytes of SVG.

Each function returns a `Figure` for notebooks; `svg` turns one into a fragment for a page, whose
colours are CSS variables, so that it follows the page into dark mode and onto paper.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports.model import KINDS, CandidateResult, StepResult, StudyResult
from reports.published import Table
from reports.tables import costs

# Stand-ins that `svg` replaces by the page's variables; as they are, they make a light figure.
INK, MUTED, LINE, ACCENT, SOFT = "#1d2527", "#66716f", "#d9dedb", "#0b6b70", "#9db9b8"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", SOFT: "soft"}
_STYLE: Any = {
    "svg.hashsalt": "ablate",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are the author's words, never formulas
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


@matplotlib.rc_context(_STYLE)
def greedy_path(study: StudyResult) -> Figure:
    """Score of every candidate by round with its 95 % interval, the winners joined by a line."""
    figure, axes = _canvas(7.2, 3.4)
    for turn in study.rounds:
        losers = [one for one in turn.candidates if one is not turn.winner]
        spread = [0.09 * (index + 1) for index in range(len(losers))]
        _points(study, axes, [turn.number + shift for shift in spread], losers, MUTED, 4)
    winners = [one for one in study.winners if one.composite is not None]
    xs, ys = [one.round for one in winners], [one.composite or 0.0 for one in winners]
    axes.plot(xs, ys, color=ACCENT, linewidth=1.8, zorder=3)
    _points(study, axes, xs, winners, ACCENT, 7)
    for before, one in zip([None, *winners], winners, strict=False):
        first = "\n".join(one.encoders)
        rising = before is None or (one.composite or 0.0) >= (before.composite or 0.0)
        axes.annotate(
            f"{_added(before, one) if before else first}\n{one.composite:.1f}",
            (one.round, one.composite or 0.0),
            xytext=(-8, 5 if rising else -5),
            textcoords="offset points",
            ha="right",
            va="bottom" if rising else "top",
            color=INK,
            linespacing=1.4,
        )
    numbers = [turn.number for turn in study.rounds]
    axes.set_xticks(numbers, [f"Round {number}" for number in numbers])
    axes.set_xlim(min(numbers) - 0.75, max(numbers) + 0.65)
    axes.margins(y=0.18)
    axes.set_ylabel(f"{study.suite} score")
    return figure


@matplotlib.rc_context(_STYLE)
def paths(study: StudyResult, reference: Table) -> Figure:
    """The winners by round beside a published path; two scales, for they are not comparable."""
    figure = Figure(figsize=(7.2, 2.4), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2)
    ours = [(one.round, one.composite) for one in study.winners if one.composite is not None]
    assert study.published is not None
    lead = reference.lead or ""
    scores = [(int(n), reference.cell(row, lead)) for n, row in study.published.rows.items()]
    theirs = [(number, score) for number, score in scores if score is not None]
    for axes, title, path, color in (
        (left, f"here: {study.suite} score", ours, ACCENT),
        (right, f"published: {lead}", theirs, MUTED),
    ):
        axes.plot(*zip(*path, strict=True), "o-", color=color, linewidth=1.6, markersize=5)
        axes.set_title(title, fontsize=9, loc="left", color=INK)
        axes.set_xticks([number for number, _ in theirs])
        axes.set_xlim(0.7, len(theirs) + 0.3)
        axes.set_xlabel("encoders")
        axes.margins(y=0.15)
    return figure


@matplotlib.rc_context(_STYLE)
def arm_scores(study: StudyResult) -> Figure:
    """Score of every arm with its 95 % interval, in the study's order."""
    scored = [one for one in study.candidates if one.composite is not None]
    figure, axes = _canvas(7.2, 0.7 + 0.42 * len(scored))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    for row, one in enumerate(reversed(scored)):
        color = ACCENT if one is study.best else MUTED
        low, high = _ends(study, one)
        axes.plot([low, high], [row, row], color=color, linewidth=1.6)
        axes.plot([one.composite or 0.0], [row], "o", color=color, markersize=6)
    axes.set_yticks(range(len(scored)), [one.name for one in reversed(scored)])
    axes.set_ylim(-0.6, len(scored) - 0.4)
    axes.set_xlabel(f"{study.suite} score")
    axes.spines["left"].set_visible(False)
    return figure


@matplotlib.rc_context(_STYLE)
def where_time_went(study: StudyResult) -> Figure:
    """One bar: the seconds of each kind of step, and beside it what sharing steps saved."""
    frame = costs(study)
    figure, axes = _canvas(7.2, 1.5)
    axes.grid(visible=False)
    left = 0.0
    for kind, color in zip(KINDS, (SOFT, MUTED, ACCENT, INK), strict=True):
        seconds = float(frame.loc[frame["kind"] == kind, "seconds"].iloc[0])
        axes.barh([0], [seconds], left=left, color=color, height=0.55, label=kind)
        left += seconds
    saved = float(frame["saved"].sum())
    if saved:
        axes.barh(
            [0], [saved], left=left, height=0.55, fill=False, edgecolor=SOFT, hatch="///",
            label="saved by sharing", linewidth=0.8,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_xlabel("seconds")
    axes.spines["left"].set_visible(False)
    axes.legend(ncols=5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=9)
    return figure


@matplotlib.rc_context(_STYLE)
def loss(step: StepResult) -> Figure | None:
    """Training loss of a step, smoothed over the raw points; `None` without a log of it."""
    points = loss_points(step.folder / "metrics.jsonl") if step.folder else []
    if not points:
        return None
    figure = Figure(figsize=(3.4, 2.1))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0.11, 0.13, 0.87, 0.84))
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=SOFT, linewidth=0.8)
    axes.plot(xs, _smooth(ys), color=ACCENT, linewidth=1.5)
    axes.set_ylim(bottom=0)
    axes.locator_params(nbins=5)
    return figure


def loss_points(path: Path, most: int = 300) -> list[tuple[int, float]]:
    """`(step, loss)` from a step's `metrics.jsonl`, thinned evenly to at most `most` points."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    points = [(int(row["step"]), float(row["loss"])) for row in rows if _has_loss(row)]
    stride = -(-len(points) // most) or 1
    return points[::stride]


@matplotlib.rc_context(_STYLE)
def svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an inline `<svg>`: labelled `title`, without dates, ids prefixed by `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', text))
    text = re.sub(
        r' id="([\w.-]+)"',
        lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "",
        text,
    )
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _points(
    study: StudyResult,
    axes: Axes,
    xs: Sequence[float],
    candidates: Sequence[CandidateResult],
    color: str,
    size: int,
) -> None:
    for x, one in zip(xs, candidates, strict=True):
        if one.composite is not None:
            axes.plot([x, x], _ends(study, one), color=color, linewidth=1.2, zorder=2)
            axes.plot([x], [one.composite], "o", color=color, markersize=size, zorder=4)


def _ends(study: StudyResult, candidate: CandidateResult) -> tuple[float, float]:
    own = study.scoreboard.score(candidate)
    middle = candidate.composite or 0.0
    return (own.low, own.high) if own else (middle, middle)


def _added(before: CandidateResult | None, candidate: CandidateResult) -> str:
    known = before.encoders if before else ()
    return " ".join(f"+ {name}" for name in candidate.encoders if name not in known)


def _has_loss(row: Mapping[str, object]) -> bool:
    loss = row.get("loss")
    return "step" in row and isinstance(loss, int | float) and loss == loss


def _smooth(values: Sequence[float], keep: float = 0.9) -> list[float]:
    """An exponential moving average, corrected for its start."""
    total, weight, result = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(total / weight)
    return result
