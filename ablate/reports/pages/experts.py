"""The page of experts: what each adds, which benchmarks it moves, which pairs go together."""

from typing import Any

from ablate.reports import figures
from ablate.reports.contributions import contributions, moves, pairs
from ablate.reports.formats import number
from ablate.reports.frame import records
from ablate.reports.model import StudyResult
from ablate.reports.pages.common import table
from ablate.reports.significance import covered


def experts(study: StudyResult) -> dict[str, Any]:
    """What the mixtures that were trained tell of each expert, and what they do not."""
    frame = contributions(study)
    told = not frame.empty and bool(frame["added"].notna().any())
    title = "What each expert adds, and its Shapley value or the bounds of it"
    return {
        "figure": figures.svg(figures.contributions(study), "experts", title) if told else "",
        "figure_caption": title,
        "added": table(frame.drop(columns="wants"), "What each expert adds, in points"),
        "wants": [[row["expert"], row["wants"]] for row in records(frame) if row["wants"]],
        "covered": covered(study.scoreboard),
        "moves": _moves(study),
        "pairs": table(pairs(study), "Two experts together"),
    }


def _moves(study: StudyResult) -> dict[str, Any]:
    """`moves` as a matrix, a row an expert and a column a benchmark; empty if nothing is told."""
    found: dict[str, dict[str, Any]] = {}
    board = study.scoreboard
    for row in records(moves(study)):
        cell = {name: number(row[name], name) for name in ("added", "added_low", "added_high")}
        found.setdefault(row["expert"], {})[row["benchmark"]] = {
            **cell,
            "told": board.told(row["p"]),
        }
    titles = [one for one in study.tasks.values() if any(one in row for row in found.values())]
    rows = [[expert, [row.get(title) for title in titles]] for expert, row in found.items()]
    return {"titles": titles, "rows": rows} if rows else {}
