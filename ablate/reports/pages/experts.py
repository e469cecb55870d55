"""The page of experts: what each adds, which benchmarks it moves, which pairs go together."""

from math import ceil
from typing import Any

import pandas as pd

from ablate.reports import figures
from ablate.reports.contributions import contributions, moves, pairs
from ablate.reports.drawing import drawing
from ablate.reports.formats import number
from ablate.reports.frame import digits, records
from ablate.reports.model import StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import downloads, table
from ablate.reports.significance import covered

SHADES = 4
"""Shades of a tint, of what is added and of what is lost."""


def experts(study: StudyResult) -> dict[str, Any]:
    """What the mixtures that were trained tell of each expert, and what they do not.

    Everywhere the expert that adds most comes first.
    """
    frame = contributions(study).sort_values("added", ascending=False, kind="stable")
    known = not frame.empty and bool(frame["added"].notna().any())
    title = "What each expert adds, and its Shapley value or the bounds of it"
    below = covered(study.scoreboard)
    added = table(frame.drop(columns="wants"), "What each expert adds, in points", "experts", below)
    return {
        "figure": drawing(figures.contributions(study), "experts", title) if known else None,
        "figure_caption": title,
        "added": added,
        "wants": [[row["expert"], row["wants"]] for row in records(frame) if row["wants"]],
        "moves": _moves(study, frame["expert"].tolist()),
        "pairs": table(pairs(study), "Two experts together", "pairs", below),
        "covered": below,
    }


def _moves(study: StudyResult, order: list[str]) -> dict[str, Any]:
    """`moves` as a matrix, a row an expert in this order and a column a benchmark, each cell with
    its tint; empty if nothing is told.
    """
    frame = moves(study)
    if frame.empty:
        return {}
    step = _step(frame["added"])
    cells: dict[str, dict[str, Any]] = {}
    board, tasks = study.scoreboard, {title: task for task, title in study.tasks.items()}
    for row in records(frame):
        cell: dict[str, Any] = {
            name: number(row[name], name) for name in ("added", "added_low", "added_high")
        }
        cell |= {
            "certain": board.is_clear(row["p"], (tasks[row["benchmark"]],)),
            "tint": _tint(row["added"], step),
        }
        cells.setdefault(row["expert"], {})[row["benchmark"]] = cell
    titles = [
        title for title in study.tasks.values() if any(title in row for row in cells.values())
    ]
    rows = [
        [expert, [cells[expert].get(title) for title in titles]]
        for expert in order
        if expert in cells
    ]
    return {
        "titles": titles,
        "rows": rows,
        "legend": _legend(step),
        "downloads": downloads(frame, "benchmarks", covered(study.scoreboard)),
    }


def _step(added: pd.Series) -> float:
    """Points from one shade to the next: 1, 2 or 5 times a power of ten, for all to be told."""
    most = max(float(added.abs().max()), 0.1) / SHADES
    scales = (base * 10.0**power for power in range(-2, 3) for base in (1, 2, 5))
    return next((scale for scale in scales if scale >= most), most)


def _tint(added: float, step: float) -> str:
    """The class of a cell: `gain-1` to `gain-4`, the same of `loss`, none for zero as shown."""
    added = round(added, digits("added"))
    shade = min(ceil(round(abs(added) / step, 6)), SHADES)
    return f"{'gain' if added > 0 else 'loss'}-{shade}" if shade else ""


def _legend(step: float) -> list[tuple[str, str]]:
    """The classes from the greatest loss to the greatest gain, each with where it ends."""
    losses = [(f"loss-{shade}", f"{-shade * step:+g}") for shade in range(SHADES, 0, -1)]
    gains = [(f"gain-{shade}", f"{shade * step:+g}") for shade in range(1, SHADES + 1)]
    return [*losses, ("", "0"), *gains]


PAGE = ReportPage("Experts", lambda source: experts(source.study), 40)
