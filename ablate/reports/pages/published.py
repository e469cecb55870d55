"""A study beside the published table it names: in a sentence, and row by row."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ablate.catalog.published import Table
from ablate.reports import figures
from ablate.reports.against import (
    against,
    caption,
    comparable,
    mark,
    notes,
    pairs,
    table_of,
)
from ablate.reports.drawing import Drawing, drawing
from ablate.reports.formats import number
from ablate.reports.frame import records
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import ABSENT, Rows, table
from ablate.reports.pages.fragility import fragility
from ablate.reports.search_tree import published_tree


def published(study: StudyResult, downloads: Sequence[str]) -> dict[str, Any]:
    """Every published cell with ours beside it where it means the same; the shape of both where
    rows are ranked; of a search the tree of its candidates. UserError if no table is named.
    `downloads`: the names of the tables.
    """
    paper_table, frame = table_of(study), against(study)
    return {
        "published_title": paper_table.title,
        "downloads": [name for name in downloads if name.startswith("published.")],
        "numbers": table(frame, caption(study)),
        "cells": _cells(frame, paper_table),
        "shape": _shape(study, paper_table),
        "notes": notes(study),
        "fragility": fragility(study, paper=True),
        "figure": _trees(study, paper_table),
    }


def _cells(frame: pd.DataFrame, paper_table: Table) -> dict[str, Any]:
    """The same as the paper has it: a row a published row, a column a measure; in each cell ours,
    published with its marks, and the difference.
    """
    kept = frame[frame["published_row"].notna() & frame["measure"].isin(paper_table.columns)]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for each in records(kept):
        measures_here = rows.setdefault((each["candidate"] or "", each["published_row"]), {})
        measures_here[each["measure"]] = each
    measures = [
        name for name in paper_table.columns if any(name in cells for cells in rows.values())
    ]
    return {
        "measures": measures,
        "rows": [
            {"name": name, "row": row, "cells": [_cell(cells.get(measure)) for measure in measures]}
            for (name, row), cells in rows.items()
        ],
    }


def _cell(row: dict[str, Any] | None) -> dict[str, str]:
    names = ("here", "published", "delta")
    values = {name: number(row[name], name) if row else "" for name in names}
    mark = row["published_mark"] if row else ""
    return {**values, "published": values["published"] + (mark or "")}


def standing(study: StudyResult) -> str:
    """How the study stands to the published result, in a sentence; empty if it names none."""
    if study.published is None:
        return ""
    paper_table, best = table_of(study), study.best
    says = f"Published: {paper_table.finding or paper_table.title}"
    if not comparable(study) or best is None:
        return says
    frame = against(study)
    rows = frame[(frame["candidate"] == best.name) & frame["published_row"].notna()]
    held = rows[rows["delta_low"].notna()]
    if rows.empty:
        return f"No published row is {best.name}. {says}"
    if held.empty:
        return (
            f"No number published of {rows['published_row'].iloc[0]} measures what is asked here. "
            f"{says}"
        )
    higher, lower = int((held["delta_low"] > 0).sum()), int((held["delta_high"] < 0).sum())
    return (
        f"Held against {held['published_row'].iloc[0]} as published, {best.name} is higher on "
        f"{higher} and lower on {lower} of {len(held)} measures"
        f"{'' if study.scoreboard.noise else ' in this run'}; on the others the published number "
        "is within the interval here."
    )


def _shape(study: StudyResult, paper_table: Table) -> dict[str, Any]:
    """Each published row's leading score and its change, beside ours: of a mixture against the best
    it adds an expert to, elsewhere against the row that our base is (or the first).
    """
    if paper_table.lead is None:
        return {}
    ours = {
        row: [candidate.name, *_scores(study, candidate)] for candidate, row in pairs(study) if row
    }
    heads = [("Row", False), (f"Published {paper_table.lead}", True), ("Change", True)]
    heads += [("Here", False), ("Score here", True), ("Change here", True)] if ours else []
    tree = published_tree(paper_table)
    base = next(
        (row for candidate, row in pairs(study) if candidate is study.base and row),
        paper_table.rows[0].name,
    )
    rows: Rows = []
    for row in paper_table.rows:
        before = tree[row.name].before if row.name in tree else base
        score = paper_table.cell(row.name, paper_table.lead)
        last = paper_table.cell(before, paper_table.lead) if before else None
        change = ABSENT
        if score is not None and last is not None and row.name != before:
            change = f"{score - last:+.1f}"
        marked = mark(paper_table, row.name, paper_table.lead, compared=False)
        shown = ABSENT if score is None else f"{score:.1f}{marked}"
        rows.append([row.name, shown, change, *(ours.get(row.name, [ABSENT] * 3) if ours else [])])
    return {"heads": heads, "rows": rows, "ours": bool(ours)}


def _scores(study: StudyResult, candidate: CandidateResult) -> list[str]:
    reference = study.reference(candidate)
    delta = study.scoreboard.difference(candidate, reference)
    return [
        number(candidate.composite, "score") or ABSENT,
        number(delta.estimate, "delta") if delta else ABSENT,
    ]


def _trees(study: StudyResult, paper_table: Table) -> Drawing | None:
    """Of a table of mixtures: its search, and ours over it."""
    if not published_tree(paper_table):
        return None
    title = "Every candidate of the published search, and of ours"
    return drawing(figures.search_trees(study, paper_table), "trees", title)


PAGE = ReportPage(
    "Published",
    lambda source: published(source.study, source.downloads),
    70,
    lambda study: study.published is not None,
)
