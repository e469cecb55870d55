"""Figures of a study (matplotlib, no display needed), each a `Figure` for notebooks.

`save` writes one for print. On a page every candidate that is drawn has a point of its own, which
says on being pointed at what it is, and leads to its page: its artist has the gid `gid` gives.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablate.errors import UserError, nearest
from ablate.reports import tables
from ablate.reports.drawing import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    PAPER,
    SECOND,
    SOFT,
    STYLE,
    Points,
    canvas,
)
from ablate.reports.drawing import COLUMNS as COLUMNS
from ablate.reports.drawing import save as save
from ablate.reports.drawing import svg as svg
from ablate.reports.frame import records
from ablate.reports.labels import NAMED, Name, cut, in_round, name_beside
from ablate.reports.losses import losses as losses
from ablate.reports.model import CandidateResult, StudyResult, best_first
from ablate.reports.search_tree import search_trees as search_trees
from ablate.reports.significance import standing
from ablate.reports.sizes import Size, pareto_front, size

ARMS = 20
"""Candidates of a figure, or of a round in it, at most: the best."""


def gid(study: StudyResult, candidate: CandidateResult) -> str:
    """What the artist of a candidate's point is called in a figure."""
    return f"point-{study.numbers[candidate]}"


@matplotlib.rc_context(STYLE)
def greedy_path(study: StudyResult) -> Figure:
    """Every candidate's score with its 95 % interval, round by round; a line joins the winners."""
    groups = [(f"Round {turn.number}", best_first(turn.candidates)) for turn in study.rounds]
    return _forest(study, groups)


@matplotlib.rc_context(STYLE)
def arm_scores(study: StudyResult) -> Figure:
    """Score of every arm with its 95 % interval, the best first; of many the best `ARMS`."""
    return _forest(study, [("", best_first(study.candidates))])


def _forest(study: StudyResult, groups: Sequence[tuple[str, list[CandidateResult]]]) -> Figure:
    """A row a candidate: its name, its interval, its score in digits and how it stands."""
    rows: list[tuple[str, CandidateResult | None]] = []
    for title, group in groups:
        shown, rest = group[:ARMS], len(group) - ARMS
        rows += [(title, None)] if title else []
        rows += [(cut(study.label(candidate)), candidate) for candidate in shown]
        rows += [(f"and {rest} more", None)] if rest > 0 else []
    figure, axes = canvas(0.7 + 0.26 * len(rows))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    winners = []
    for row, (_, candidate) in enumerate(rows):
        if candidate is None:
            continue
        mark = standing(study, candidate)
        won = mark in ("winner", "best")
        color = ACCENT if won or mark == "tie" else MUTED
        if candidate.composite is not None:
            axes.plot(_ends(study, candidate), [row, row], color=color, linewidth=1.4, zorder=2)
            shape, within = "D" if won else "o", PAPER if mark == "tie" else color
            axes.plot(
                [candidate.composite], [row], shape, color=color, markersize=6, zorder=4,
                markerfacecolor=within, gid=gid(study, candidate),
            )  # fmt: skip
            winners += [(candidate.composite, row)] if mark == "winner" else []
        score = "" if candidate.composite is None else f"{candidate.composite:.1f} "
        axes.text(
            1.02, row, f"{score}{mark}", transform=axes.get_yaxis_transform(), va="center",
            color=INK if color == ACCENT else MUTED, fontsize=9,
        )  # fmt: skip
    if winners:
        axes.plot(*zip(*winners, strict=True), color=ACCENT, linewidth=1.0, alpha=0.5, zorder=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    for label, (_, candidate) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(MUTED if candidate is None else INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{study.suite} score")
    axes.spines["left"].set_visible(False)
    return figure


class Cost(NamedTuple):
    """A cost to set scores against: its words, where it is found, and whether it was measured, and
    so rests on a machine and on what else ran there.
    """

    words: str
    of: Callable[[Size], float | None]
    measured: bool = False


COSTS: Mapping[str, Cost] = MappingProxyType(
    {
        "training_flops": Cost(
            "operations on images in training", lambda candidate: candidate.training_flops
        ),
        "vision_flops": Cost("operations an image", lambda candidate: candidate.vision_flops),
        "visual_tokens": Cost("visual tokens", lambda candidate: candidate.visual_tokens),
        "parameters": Cost("parameters", lambda candidate: candidate.parameters),
        "device_hours": Cost(
            "device time", lambda candidate: candidate.device_hours, measured=True
        ),
        "tokens_per_second": Cost(
            "visual tokens a second", lambda candidate: candidate.tokens_per_second, measured=True
        ),
    }
)
"""What `pareto` can set the score against; first what a machine has no part in."""


@matplotlib.rc_context(STYLE)
def pareto(study: StudyResult, cost: str = "training_flops") -> Figure:
    """Score against one of `COSTS`; the front is joined by a line and named, the rest hollow.

    UserError for another cost.
    """
    if cost not in COSTS:
        raise UserError(f"no cost '{cost}'{nearest(cost, COSTS)}")
    quick = cost == "tokens_per_second"
    scored = [candidate for candidate in study.candidates if candidate.composite is not None]
    costs = {candidate: COSTS[cost].of(size(candidate)) for candidate in scored}
    scored = [candidate for candidate in scored if costs[candidate] is not None]
    front = pareto_front(scored, costs.__getitem__, more_is_better=quick)
    unit, scale = _unit(cost, [value for value in costs.values() if value is not None])
    figure, axes = canvas(3.6)
    axes.grid(axis="x", visible=True)
    places = {
        candidate: ((costs[candidate] or 0.0) / scale, candidate.composite or 0.0)
        for candidate in scored
    }
    _mark_points(axes, study, places, front)
    where: Any = "steps-pre" if quick else "steps-post"
    if front:
        joined = [places[candidate] for candidate in front]
        axes.plot(*zip(*joined, strict=True), color=ACCENT, drawstyle=where, zorder=2)
    named = list(places) if len(places) <= NAMED else front[-NAMED:]
    name_beside(
        axes,
        [
            Name(places[candidate], in_round(study, candidate), candidate in front)
            for candidate in named
        ],
    )
    axes.xaxis.set_major_formatter(EngFormatter(sep=" ") if scale == 1.0 else "{x:g}")
    axes.set_xlabel(f"{COSTS[cost].words}{unit}{' (more is better)' if quick else ''}")
    axes.set_ylabel(f"{study.suite} score")
    axes.margins(x=0.08, y=0.08)
    return figure


def _mark_points(
    axes: Axes,
    study: StudyResult,
    places: Mapping[CandidateResult, tuple[float, float]],
    front: Sequence[CandidateResult],
) -> None:
    """A mark for each candidate, those of the front filled, and a line for its interval."""
    for on_front, several in groupby(places, lambda candidate: candidate in front):
        shape, color, within = ("D", ACCENT, ACCENT) if on_front else ("o", MUTED, PAPER)
        marked = {gid(study, candidate): places[candidate] for candidate in several}
        axes.add_line(Points(marked, shape, color, within))
    if places:
        lows, highs = zip(*(_ends(study, candidate) for candidate in places), strict=True)
        lines = [ACCENT if candidate in front else LINE for candidate in places]
        axes.vlines([x for x, _ in places.values()], lows, highs, lines, linewidth=0.9, zorder=1)


def _unit(cost: str, values: Sequence[float]) -> tuple[str, float]:
    """The unit of an axis, in words, and how much of the cost's own unit it is."""
    if cost != "device_hours":
        return "", 1.0
    name, seconds = time_unit(3600 * max(values, default=0.0))
    return f", {name}", seconds / 3600


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit in which so much time is read at a glance, and its seconds."""
    if seconds < 120:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 7200 else ("hours", 3600.0)


@matplotlib.rc_context(STYLE)
def contributions(study: StudyResult) -> Figure:
    """What each expert adds to trained mixtures; its Shapley value, or the bounds of it."""
    frame = tables.contributions(study).sort_values("added", ascending=False, kind="stable")
    figure, axes = canvas(0.9 + 0.5 * len(frame))
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


@matplotlib.rc_context(STYLE)
def flips(
    study: StudyResult,
    before: CandidateResult | None = None,
    after: CandidateResult | None = None,
) -> Figure:
    """Questions fixed (to the right) and broken (to the left) by benchmark; base and best."""
    frame = tables.flips(study, before, after)
    figure, axes = canvas(0.9 + 0.32 * len(frame))
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


@matplotlib.rc_context(STYLE)
def where_time_went(study: StudyResult) -> Figure:
    """One bar: the time of each stage and of evaluation, and what sharing steps saved.

    A kind of step has one colour; further stages of it are hatched.
    """
    frame = tables.costs(study)
    saved = float(frame["saved"].sum())
    unit, scale = time_unit(float(frame["seconds"].sum()) + saved)
    figure, axes = canvas(1.6)
    axes.grid(visible=False)
    left, drawn = 0.0, Counter[str]()
    for name, kind in study.stages.items():
        spent = float(frame.loc[frame["kind"] == name, "seconds"].iloc[0]) / scale
        axes.barh(
            [0], [spent], left=left, height=0.55, label=name, color=kind.colour,
            edgecolor=PAPER, linewidth=0, hatch=_HATCHES[drawn[kind.name] % len(_HATCHES)],
        )  # fmt: skip
        drawn[kind.name] += 1
        left += spent
    if saved:
        axes.barh(
            [0], [saved / scale], left=left, height=0.55, fill=False, edgecolor=SOFT, hatch="///",
            label="saved by sharing", linewidth=0.8,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_xlabel(unit)
    axes.spines["left"].set_visible(False)
    axes.legend(
        ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=9,
        handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip
    return figure


_HATCHES = ("", "...", "xxx", "+++")


def _ends(study: StudyResult, candidate: CandidateResult) -> tuple[float, float]:
    interval = study.scoreboard.score(candidate)
    middle = candidate.composite or 0.0
    return (interval.low, interval.high) if interval else (middle, middle)
