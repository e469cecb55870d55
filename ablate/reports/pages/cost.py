"""The page of cost: score against cost, where the time went, what sharing steps saved."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.ticker import EngFormatter

from ablate.humanize import duration
from ablate.reports import figures
from ablate.reports.drawing import Point, drawing
from ablate.reports.frame import COLUMNS
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import Cell, path_of, points, short, table, text_of
from ablate.reports.significance import below
from ablate.reports.sizes import Size, pareto_front, size
from ablate.reports.tables import cost as candidates
from ablate.reports.tables import costs


def cost(study: StudyResult) -> dict[str, Any]:
    """Figures and tables of what each candidate costs, and each kind of step."""
    spent = any(step.seconds for step in study.steps.values())
    title = "Time by kind of step, and those saved"
    sizes = {
        candidate: size(candidate)
        for candidate in study.candidates
        if candidate.composite is not None
    }
    known = {
        name: {value for candidate in sizes.values() if (value := cost.of(candidate)) is not None}
        for name, cost in figures.COSTS.items()
    }
    drawn = [_front(study, name, sizes) for name, values in known.items() if len(values) > 1]
    return {
        "sentence": sentence(study),
        "figure": drawing(figures.where_time_went(study), "cost", title) if spent else None,
        "steps": _steps(study),
        "fronts": [front for front in drawn if not front["measured"]],
        "measured": [front for front in drawn if front["measured"]],
        "machines": _machines(study),
        "same": [_same(name, *values) for name, values in known.items() if len(values) == 1],
        "candidates": _candidates(study, sizes),
        "below": below(study),
    }


def _front(study: StudyResult, name: str, sizes: Mapping[CandidateResult, Size]) -> dict[str, Any]:
    axis = figures.COSTS[name]
    title = f"Score against {axis.words}"

    def marked() -> Mapping[str, Point]:
        amounts = {
            candidate: _amount(name, axis.of(size_of)) for candidate, size_of in sizes.items()
        }
        return points(study, amounts)

    drawn = drawing(figures.pareto(study, name), name, title, marked)
    return {"title": title, "drawing": drawn, "measured": axis.measured}


def _amount(name: str, value: float | None) -> str:
    """A cost as a point says it."""
    if value is None:
        return ""
    if name == "device_hours":
        return duration(3600 * value)
    return f"{EngFormatter(sep=' ')(value)} {figures.COSTS[name].words}"


def _machines(study: StudyResult) -> str:
    """Where what was measured was measured."""
    hosts = {text_of(host) for step in study.steps.values() if (host := step.record.get("host"))}
    shown = ", ".join(sorted(hosts)[:MACHINES])
    return shown + (f" and {len(hosts) - MACHINES} more" if len(hosts) > MACHINES else "")


MACHINES = 4
"""Names of machines that are told."""


def _same(name: str, value: float) -> str:
    """Why a cost has no figure."""
    return (
        f"All have the same {figures.COSTS[name].words}, {value:,.4g}: there is no front to draw."
    )


def _steps(study: StudyResult) -> dict[str, Any]:
    """The kinds of steps, and all of them in a last row."""
    frame = costs(study)
    total = frame.drop(columns="kind").sum().to_frame().T.assign(kind="all")
    total["share"] = 100.0 if total["seconds"].item() else 0.0  # not the sum of rounded shares
    return table(pd.concat([frame, total[frame.columns]]), "Steps by kind", "steps")


def _candidates(study: StudyResult, sizes: Mapping[CandidateResult, Size]) -> dict[str, Any]:
    """What each takes, and the costs on whose Pareto front it is."""
    fronts: dict[CandidateResult, list[str]] = {candidate: [] for candidate in study.candidates}
    for cost in figures.COSTS.values():
        if cost.measured:
            continue
        costs_of = {candidate: cost.of(size_of) for candidate, size_of in sizes.items()}
        if len(set(costs_of.values())) > 1:
            for candidate in pareto_front(list(sizes), costs_of.__getitem__):
                fronts[candidate].append(cost.words)
    frame = candidates(study).assign(front=[", ".join(marks) for marks in fronts.values()])
    made = table(frame, "Candidates: score and cost", "cost", below(study))
    large = [column for column, (title, _) in enumerate(made["heads"]) if title in _LARGE]
    for row, candidate in zip(made["rows"], study.candidates, strict=True):
        row[0] = Cell(candidate.name, page=path_of(study, candidate))
        for column in large:
            row[column] = short(row[column])
    return made


_LARGE = [COLUMNS[name][0] for name in ("parameters", "trainable")]


def sentence(study: StudyResult) -> str:
    """What the study took, and what it would have taken without sharing steps."""
    done = {key: step for key, step in study.steps.items() if step.status == "done"}
    spent = sum(step.seconds for step in study.steps.values())
    uses = sum(len(study.used_by[key]) for key in done)
    saved = sum(step.seconds * (len(study.used_by[key]) - 1) for key, step in done.items())
    if not spent:
        return "No step has ended yet."
    took = f"{duration(spent)} of work, {len(done)} step{'s' if len(done) != 1 else ''} done."
    if not saved:
        return f"{took} No two candidates share a step."
    share = 100 * saved / (spent + saved)
    return (
        f"{took} What several candidates need is done once: each on its own, they would have done "
        f"{uses} steps. Sharing saved {duration(saved)}, {share:.0f} % of their time."
    )


PAGE = ReportPage("Cost", lambda source: cost(source.study), 30)
