"""Figures of a study (matplotlib, no display needed): the same input gives the same bytes of SVG.

Each function returns a `Figure` for notebooks; `save` writes one for print. `svg` turns one into a
fragment for a page, whose colours are CSS variables, so that it follows the page into dark mode.
All are `WIDTH` wide, so that their text has one size on a page, and a phone shows them whole.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter

from ablate.catalog.published import Table
from ablate.errors import UserError, nearest
from ablate.files import drafted
from ablate.reports import tables
from ablate.reports.frame import records
from ablate.reports.model import KINDS, CandidateResult, StudyResult, best_first
from ablate.reports.sizes import Size, pareto_front, size

# Stand-ins that `svg` replaces by the page's variables; as they are, they make a light figure.
INK, MUTED, LINE, ACCENT, SOFT = "#1d2527", "#66716f", "#d9dedb", "#0072b2", "#9db9b8"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", SOFT: "soft"}
SECOND = "#d55e00"
"""Of a second series. It and `ACCENT` are Okabe and Ito's blue and vermilion (Color Universal
Design, 2008), told apart by the colour-blind; what they stand for has a marker or hatch of its own
too."""
WIDTH = 6.0
"""Inches of every figure on a page."""
LABELS = 8
"""Points of a front that are named; of more only the ends."""
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
ARMS = 20
"""Arms of a figure at most: the best."""


@matplotlib.rc_context(_STYLE)
def greedy_path(study: StudyResult) -> Figure:
    """Score of every candidate by round with its 95 % interval, the winners joined by a line."""
    figure, axes = _canvas(3.4)
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
            f"{study.label(one) if before else first}\n{one.composite:.1f}",
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
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
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
    """Score of every arm with its 95 % interval, the best first; of many the best `ARMS`."""
    scored = best_first([one for one in study.candidates if one.composite is not None])[:ARMS]
    figure, axes = _canvas(0.7 + 0.42 * len(scored))
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


COSTS: Mapping[str, tuple[str, Callable[[Size], float | None]]] = MappingProxyType(
    {
        "visual_tokens": ("visual tokens", lambda size: size.visual_tokens),
        "parameters": ("parameters", lambda size: size.parameters),
        "tokens_per_second": ("visual tokens a second", lambda size: size.tokens_per_second),
        "device_hours": ("device-hours", lambda size: size.device_hours),
    }
)
"""What `pareto` can set the score against: its words, and where it is found."""


@matplotlib.rc_context(_STYLE)
def pareto(study: StudyResult, cost: str = "visual_tokens") -> Figure:
    """Score against one of `COSTS`; the front is joined by a line and named, the rest hollow.

    UserError for another cost.
    """
    if cost not in COSTS:
        raise UserError(f"no cost '{cost}'{nearest(cost, COSTS)}")
    words, of = COSTS[cost]
    quick = cost == "tokens_per_second"
    scored = [one for one in study.candidates if one.composite is not None]
    costs = {one: of(size(one)) for one in scored}
    front = pareto_front(scored, costs.__getitem__, more_is_better=quick)
    figure, axes = _canvas(3.8)
    axes.grid(axis="x", visible=True)
    for one in scored:
        if (x := costs[one]) is not None and one not in front:
            axes.plot([x, x], _ends(study, one), color=LINE, linewidth=1.0, zorder=1)
            axes.plot([x], [one.composite or 0.0], "o", color=MUTED, fillstyle="none", zorder=2)
    points = [(costs[one] or 0.0, one.composite or 0.0) for one in front]
    if points:
        where: Any = "steps-pre" if quick else "steps-post"
        axes.plot(*zip(*points, strict=True), "D", color=ACCENT, ls="-", drawstyle=where, zorder=3)
    for number, (one, point) in enumerate(zip(front, points, strict=True)):
        axes.plot([point[0]] * 2, _ends(study, one), color=ACCENT, linewidth=1.0, zorder=3)
        if len(front) <= LABELS or number in (0, len(front) - 1):
            name = study.label(one)
            axes.annotate(
                f"{one.round}: {name}" if name != one.name else name,
                point,
                xytext=(5 if quick else -5, 5),  # where the front leaves room
                textcoords="offset points",
                ha="left" if quick else "right",
                fontsize=8,
                color=INK,
            )
    if cost == "parameters":
        count = EngFormatter(sep=" ")
        axes.xaxis.set_major_formatter(lambda value, _: count(value).replace("G", "B"))
    axes.set_xlabel(f"{words}{' (more is better)' if quick else ''}")
    axes.set_ylabel(f"{study.suite} score")
    axes.margins(x=0.3, y=0.12)
    return figure


@matplotlib.rc_context(_STYLE)
def contributions(study: StudyResult) -> Figure:
    """What each expert adds to trained mixtures; its Shapley value, or the bounds of it."""
    frame = tables.contributions(study)
    figure, axes = _canvas(0.9 + 0.5 * len(frame))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    for row, values in enumerate(reversed(records(frame))):
        for shift, name, color, marker in (
            (0.14, "added", ACCENT, "o"),
            (-0.14, "shapley", SECOND, "D"),
        ):
            if values[name] is not None:
                ends = [values[f"{name}_low"], values[f"{name}_high"]]
                axes.plot(ends, [row + shift] * 2, color=color, linewidth=1.4)
                axes.plot([values[name]], [row + shift], marker, color=color, markersize=6)
        if values["shapley_least"] is not None:
            ends = [values["shapley_least"], values["shapley_most"]]
            axes.plot(ends, [row - 0.14] * 2, "|:", color=SECOND, linewidth=1.4)
    axes.set_yticks(range(len(frame)), list(reversed(frame["expert"].tolist())))
    axes.set_ylim(-0.6, max(len(frame) - 0.4, 0.6))
    axes.set_xlabel("points added")
    for label, color, style in (
        ("adds (mean)", ACCENT, "o-"),
        ("Shapley value", SECOND, "D-"),
        ("its bounds", SECOND, "|:"),
    ):
        axes.plot([], [], style, color=color, label=label)
    figure.legend(ncols=3, loc="outside upper left", fontsize=8)
    return figure


@matplotlib.rc_context(_STYLE)
def flips(
    study: StudyResult,
    before: CandidateResult | None = None,
    after: CandidateResult | None = None,
) -> Figure:
    """Questions fixed (to the right) and broken (to the left) by benchmark; base and best."""
    frame = tables.flips(study, before, after)
    figure, axes = _canvas(0.9 + 0.32 * len(frame))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    rows = range(len(frame))
    fixed, broken = (list(reversed(frame[name].tolist())) for name in ("fixed", "broken"))
    axes.barh(rows, fixed, color=ACCENT, height=0.6, label="fixed")
    lost = [-count for count in broken]
    axes.barh(rows, lost, color=SECOND, height=0.6, hatch="///", edgecolor="white", label="broken")
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(rows, list(reversed(frame["benchmark"].tolist())))
    axes.xaxis.set_major_formatter(lambda count, _: f"{abs(count):g}")
    axes.set_xlabel("questions")
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=9)
    return figure


@matplotlib.rc_context(_STYLE)
def where_time_went(study: StudyResult) -> Figure:
    """One bar: the seconds of each kind of step, and beside it what sharing steps saved."""
    frame = tables.costs(study)
    figure, axes = _canvas(1.5)
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
    axes.legend(
        ncols=5, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=9,
        handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip
    return figure


COLUMNS = MappingProxyType({1: 3.25, 2: 6.875})
"""Inches of a figure over one or two columns of a two-column page (that of CVPR and IEEE)."""
PRINT = 8.0
"""Points of the text in print."""


def save(figure: Figure, path: Path | str, columns: Literal[1, 2] = 2) -> None:
    """Write a figure for print as SVG or PDF, by the ending: text in 8 points, fonts embedded.

    The same study gives the same bytes. UserError for another ending.
    """
    path = Path(path)
    dates = {".svg": "Date", ".pdf": "CreationDate"}
    if path.suffix not in dates:
        raise UserError(f"{path}: a figure is saved as .svg or .pdf")
    before: tuple[float, float] = tuple(figure.get_size_inches())
    texts = [(text, text.get_fontsize()) for text in figure.findobj(Text)]
    shrunk = COLUMNS[columns] / before[0]
    style: Any = {**_STYLE, "svg.fonttype": "path", "pdf.fonttype": 42}
    try:
        figure.set_size_inches(COLUMNS[columns], before[1] * max(shrunk, 0.7))
        for text, _ in texts:
            text.set_fontsize(PRINT)
        with matplotlib.rc_context(style), drafted(path) as draft:
            metadata = {dates[path.suffix]: None}
            figure.savefig(draft, format=path.suffix[1:], metadata=metadata)
    finally:
        figure.set_size_inches(before)
        for text, size_before in texts:
            text.set_fontsize(size_before)


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
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
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
