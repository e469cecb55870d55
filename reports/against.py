"""A study beside the published table it names: published, here, and the difference.

A column is compared only where it measures the same: a benchmark that lmms-eval's own task asks, or
an average over such with a known rule. All else stands there uncompared, and our composite under
our suite's name. Numbers are in the published unit, such as 0 to 2000 for MME.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ablate.errors import UserError
from ablate.study import Published
from reports import published
from reports.model import CandidateResult, StudyResult
from reports.tables import interval, rounded

SECOND_HAND, DOUBTFUL, MISSING, UNLIKE = "*", "?", "-", "!"


def table_of(study: StudyResult) -> published.Table:
    """The published table the study names. Raises `UserError` if it names none."""
    return published.table(_named(study).table)


def comparable(study: StudyResult) -> bool:
    """Whether the study asks published benchmarks, so that numbers may be held against numbers."""
    return bool(study.benchmarks)


def against(study: StudyResult) -> pd.DataFrame:
    """A row a candidate and measure: published, here, and `delta`, here minus published.

    The interval of `delta` is ours, 95 % over the choice of questions: that of the published number
    is not known. Of a study of rounds the winners, of arms all; last of each its composite.
    """
    rows = [row for one, name in _pairs(study) for row in _rows(study, one, name)]
    columns = ["candidate", "published_row", "measure", "published", "published_mark", "here"]
    return rounded(pd.DataFrame(rows, columns=[*columns, "delta", "delta_low", "delta_high"]))


def caption(study: StudyResult) -> str:
    """The title of the table."""
    found = table_of(study)
    return f"{study.title}, against {found.title} ({found.version})"


def notes(study: StudyResult) -> list[str]:
    """What the marks stand for, what is not compared and why, the source and its cautions."""
    found, book = table_of(study), published.book()
    lines = []
    if comparable(study):
        frame = against(study)
        marks = set("".join(frame["published_mark"]))
        texts = {
            SECOND_HAND: f"second-hand, from {book.sources[found.source].what}",
            DOUBTFUL: "; ".join(
                f"doubtful ({one.row}, {one.column}): {one.why}"
                for one in found.suspect
                if one.row in set(frame["published_row"])
            ),
            MISSING: "not published, or not found",
            UNLIKE: "; ".join(
                f"not quite the same ({name}): {book.columns[name].note}"
                for name in found.columns
                if book.columns[name].note and _tasks(study, name)
            ),
        }
        lines += [f"Marked {mark}: {text}." for mark, text in texts.items() if mark in marks]
        lines += [
            f"{name} is not compared: {_why(study, name)}."
            for name in found.columns
            if book.columns[name].full and not _tasks(study, name)
        ]
        lines.append(
            "A difference is here minus published, with our 95 % interval over the choice of "
            "questions; that of the published number is not known."
        )
    else:
        lines.append(
            f"Not comparable number by number: {study.suite} asks no published benchmark. "
            f"Published: {found.finding or found.title}"
        )
    lines.append(f"Source: {book.sources[found.source].what} ({found.version}).")
    if found.missing:
        lines.append(f"Not found: {found.missing}.")
    return [*lines, found.caution] if found.caution else lines


def _named(study: StudyResult) -> Published:
    if study.published is None:
        raise UserError(f"{study.name} names no published table: give it the field `published`")
    return study.published


def _pairs(study: StudyResult) -> list[tuple[CandidateResult, str | None]]:
    """Our candidates with the names of their published rows."""
    rows = _named(study).rows
    if study.kind == "rounds":
        return [(one, rows.get(str(one.round))) for one in study.winners]
    return [(one, rows.get(one.name)) for one in study.candidates]


def _rows(study: StudyResult, one: CandidateResult, name: str | None) -> Iterator[dict[str, Any]]:
    found, book = table_of(study), published.book()
    whose = {"candidate": one.name, "published_row": name}
    for column in found.columns if name else ():
        about = book.columns[column]
        if name is None or about.full is None:
            continue
        value, tasks = found.cell(name, column), _tasks(study, column)
        row: dict[str, Any] = {**whose, "measure": column, "published": value}
        row["published_mark"] = _mark(found, name, column, bool(tasks))
        ours = interval(one, tasks) if tasks else None
        if ours is not None:
            scale = about.full / 100.0
            row["here"] = scale * sum(one.scores[task] for task in tasks) / len(tasks)
            if value is not None:
                row["delta"] = row["here"] - value
                row["delta_low"] = scale * ours.low - value
                row["delta_high"] = scale * ours.high - value
        yield row
    yield {
        **whose,
        "measure": f"mean over {study.suite}",
        "published_mark": MISSING,
        "here": one.composite,
    }


def _mark(found: published.Table, row: str, column: str, compared: bool) -> str:
    book = published.book()
    if found.cell(row, column) is None:
        return MISSING
    return (
        SECOND_HAND * (book.sources[found.source].trust == "secondary")
        + DOUBTFUL * bool(found.doubt(row, column))
        + UNLIKE * (compared and bool(book.columns[column].note))
    )


def _tasks(study: StudyResult, column: str) -> tuple[str, ...]:
    """The tasks whose mean is what the column measures; none where that is not so."""
    about = published.book().columns[column]
    if about.mean_of:
        parts = [_tasks(study, part) for part in about.mean_of]
        return tuple(task for part in parts for task in part) if all(parts) else ()
    return tuple(task for task, name in study.benchmarks.items() if name == about.benchmark)


def _why(study: StudyResult, column: str) -> str:
    about = published.book().columns[column]
    lacking = [part for part in about.mean_of if not _tasks(study, part)]
    if lacking:
        return f"an average over {', '.join(lacking)} too, which {study.suite} does not ask"
    return about.note or f"{study.suite} does not ask it"
