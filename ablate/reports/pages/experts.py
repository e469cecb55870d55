"""The page of experts: what each adds, which benchmarks it moves, which pairs go together."""

from typing import Any

from ablate.reports import figures
from ablate.reports.contributions import contributions, moves, pairs
from ablate.reports.drawing import drawing
from ablate.reports.formats import number
from ablate.reports.frame import records
from ablate.reports.model import StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import downloads, table
from ablate.reports.pages.tints import legend, tint, tint_step
from ablate.reports.significance import covered


def experts(study: StudyResult) -> dict[str, Any]:
    """What the mixtures that were trained tell of each expert, and what they do not.

    Everywhere the expert that adds most comes first.
    """
    frame = contributions(study).sort_values("added", ascending=False, kind="stable")
    known = not frame.empty and bool(frame["added"].notna().any())
    title = "What each expert adds, and its Shapley value or the bounds of it."
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
    step = tint_step(frame["added"])
    cells: dict[str, dict[str, Any]] = {}
    board, tasks = study.scoreboard, {title: task for task, title in study.tasks.items()}
    for row in records(frame):
        cell: dict[str, Any] = {
            name: number(row[name], name) for name in ("added", "added_low", "added_high")
        }
        cell |= {
            "certain": board.is_clear(row["p"], (tasks[row["benchmark"]],)),
            "tint": tint(row["added"], step),
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
        "legend": legend(step),
        "downloads": downloads(frame, "benchmarks", covered(study.scoreboard)),
    }


PAGE = ReportPage("Experts", lambda source: experts(source.study), 40)
