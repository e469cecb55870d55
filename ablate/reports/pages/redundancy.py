"""The page of redundancy: what a trained mixture loses where some of its experts are masked."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablate.reports.formats import number
from ablate.reports.frame import records
from ablate.reports.model import StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import downloads, path_of, table
from ablate.reports.pages.tints import legend, tint, tint_step
from ablate.reports.redundancy import (
    Redundancy,
    correlation,
    expert_table,
    gap_table,
    pair_table,
    part_table,
    rate_table,
    summary,
)

INSTEAD = {"zeros": "zeros", "mean": "their mean over the benchmark's images"}
"""What stands in for the features of a masked expert, in words."""


def redundancy(study: StudyResult) -> dict[str, Any]:
    """A part for each candidate that was masked, and for each way to."""
    runs = [
        Redundancy(study, candidate, run)
        for candidate in study.candidates
        for run in study.masked.get(candidate.name, ())
    ]
    return {"runs": [_shown(run, number) for number, run in enumerate(runs, start=1)]}


def _shown(masked: Redundancy, number: int) -> dict[str, Any]:
    rates, pairs = rate_table(masked), pair_table(masked)
    return {
        "name": masked.candidate.name,
        "page": path_of(masked.study, masked.candidate),
        "way": INSTEAD[masked.run.way],
        "masks": len(masked.run.kept),
        "summary": summary(masked),
        "correlation": correlation(masked),
        "rates": _rates(masked, rates),
        "rate_files": downloads(rates, f"utilisation-{number}"),
        "gaps": table(gap_table(masked), "Information gap", f"gaps-{number}"),
        "experts": table(expert_table(masked), "Each expert", f"masked-{number}"),
        "pairs": _pairs(masked, pairs),
        "pair_files": downloads(pairs, f"masked-pairs-{number}"),
        "parts": table(part_table(masked), "Every mask", f"masks-{number}"),
    }


def _rates(masked: Redundancy, frame: pd.DataFrame) -> dict[str, Any]:
    """A row an expert, a column a family."""
    step = tint_step(frame["used"])
    cells = {(row["expert"], row["family"]): _cell(row, "used", step) for row in records(frame)}
    families = list(masked.families)
    rows = [(expert, [cells[expert, family] for family in families]) for expert in masked.experts]
    return {"titles": families, "rows": rows, "legend": legend(step)}


def _pairs(masked: Redundancy, frame: pd.DataFrame) -> dict[str, Any]:
    """A row and a column an expert; nothing where no pair was masked."""
    known = frame[frame["together"].notna()]
    if known.empty:
        return {}
    step = tint_step(known["together"])
    cells: dict[tuple[str, str], dict[str, str] | None] = {}
    for row in records(known):
        cell = _cell(row, "together", step)
        cells[row["expert"], row["other"]] = cells[row["other"], row["expert"]] = cell
    rows = [
        (expert, [cells.get((expert, other)) for other in masked.experts])
        for expert in masked.experts
    ]
    return {"titles": masked.experts, "rows": rows, "legend": legend(step)}


def _cell(row: Mapping[str, Any], column: str, step: float) -> dict[str, str]:
    return {
        "text": number(row[column], column),
        "tint": tint(row[column], step),
        "low": number(row[f"{column}_low"], column),
        "high": number(row[f"{column}_high"], column),
    }


PAGE = ReportPage(
    "Redundancy", lambda source: redundancy(source.study), 45, lambda study: bool(study.masked)
)
