"""A study beside the published table it names: in a sentence, and row by row."""

from typing import Any

import pandas as pd

from ablate.catalog.published import Table
from ablate.reports import figures
from ablate.reports.against import against, caption, comparable, mark, notes, table_of
from ablate.reports.drawing import Drawing, drawing
from ablate.reports.formats import number
from ablate.reports.frame import records
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.pages.common import ABSENT, Rows, table


def published(study: StudyResult) -> dict[str, Any] | None:
    """Numbers against numbers where they mean the same; the shape of both where rows are ranked.

    `None` for a study that names no published table.
    """
    if study.published is None:
        return None
    found = table_of(study)
    frame = against(study) if comparable(study) else None
    return {
        "title": found.title,
        "numbers": {} if frame is None else table(frame, caption(study)),
        "cells": {} if frame is None else _cells(frame),
        "shape": _shape(study, found),
        "notes": notes(study),
        "figure": _paths(study, found),
    }


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    """The same as the paper has it: a row a candidate, a column a measure; in each cell ours,
    published with its marks, and the difference.
    """
    named = frame[frame["published_row"].notna() & frame["published"].notna()]
    measures = list(dict.fromkeys(named["measure"]))
    rows = []
    for (name, row), own in named.groupby(["candidate", "published_row"], sort=False):
        found = {each["measure"]: each for each in records(own)}
        rows.append(
            {"name": name, "row": row, "cells": [_cell(found.get(one)) for one in measures]}
        )
    return {"measures": measures, "rows": rows} if rows else {}


def _cell(found: dict[str, Any] | None) -> dict[str, str]:
    names = ("here", "published", "delta")
    values = {name: number(found[name], name) if found else "" for name in names}
    mark = found["published_mark"] if found else ""
    return {**values, "published": values["published"] + (mark or "")}


def standing(study: StudyResult) -> str:
    """How the study stands to the published result, in a sentence; empty if it names none."""
    if study.published is None:
        return ""
    found, best = table_of(study), study.best
    if not comparable(study) or best is None:
        return f"Published: {found.finding or found.title}"
    frame = against(study)
    own = frame[(frame["candidate"] == best.name) & frame["published_row"].notna()]
    held = own[own["delta_low"].notna()]
    if own.empty:
        return f"No published row is {best.name}. Published: {found.finding or found.title}"
    if held.empty:
        return (
            f"No number published of {own['published_row'].iloc[0]} measures what is asked here. "
            f"Published: {found.finding or found.title}"
        )
    higher, lower = int((held["delta_low"] > 0).sum()), int((held["delta_high"] < 0).sum())
    return (
        f"Held against {held['published_row'].iloc[0]} as published, {best.name} is higher on "
        f"{higher} and lower on {lower} of {len(held)} measures"
        f"{'' if study.scoreboard.noise else ' in this run'}; on the others the published number "
        "is within the interval here."
    )


def _shape(study: StudyResult, found: Table) -> dict[str, Any]:
    """Each published row's leading score and its change, beside ours: from row to row of a search,
    elsewhere against the row that our base is (or the first).
    """
    if found.lead is None or study.published is None:
        return {}
    ours = _ours(study)
    heads = [("Row", False), (f"Published {found.lead}", True), ("Change", True)]
    heads += [("Here", False), ("Score here", True), ("Change here", True)] if ours else []
    rows: Rows = []
    before = study.published.rows.get(study.base.name, found.rows[0].name)
    for row in found.rows:
        score, last = (found.cell(name, found.lead) for name in (row.name, before))
        change = ABSENT
        if score is not None and last is not None and row.name != before:
            change = f"{score - last:+.1f}"
        before = row.name if study.strategy.goes_on else before
        marked = mark(found, row.name, found.lead, compared=False)
        shown = ABSENT if score is None else f"{score:.1f}{marked}"
        rows.append([row.name, shown, change, *(ours.get(row.name, [ABSENT] * 3) if ours else [])])
    return {"heads": heads, "rows": rows, "ours": bool(ours)}


def _ours(study: StudyResult) -> dict[str, list[str]]:
    """Our rows by the published row that each is: name, score, change."""
    assert study.published is not None
    rows = study.published.rows
    if study.strategy.goes_on:
        named = [(rows.get(one.round), " + ".join(one.encoders), one) for one in study.winners]
    else:
        named = [(rows.get(one.name), one.name, one) for one in study.candidates]
    return {row: [name, *_scores(study, one)] for row, name, one in named if row}


def _scores(study: StudyResult, one: CandidateResult) -> list[str]:
    reference = study.reference(one)
    delta = study.scoreboard.difference(one, reference)
    return [
        number(one.composite, "score") or ABSENT,
        number(delta.estimate, "delta") if delta else ABSENT,
    ]


def _paths(study: StudyResult, found: Table) -> Drawing | None:
    rows = study.published.rows if study.published and study.strategy.goes_on else {}
    if not rows or not study.winners or found.lead is None:
        return None
    title = "Winner of each round, and published"
    return drawing(figures.paths(study, found), "paths", title)
