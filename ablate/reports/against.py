"""A study beside the published table it names: published, here, and the difference.

A column is compared only where it measures the same: a benchmark that lmms-eval's own task asks, or
an average over such with a known rule. All else stands there uncompared, and our composite under
our suite's name; where an average that is not ours ranks the published rows, what each gains over
the base stands beside what it gains here. Numbers are in the published unit, such as 0 to 2000 for
MME.
"""

from typing import Any

import pandas as pd

from ablate.catalog import published
from ablate.errors import UserError
from ablate.reports.frame import typed
from ablate.reports.model import CandidateResult, Repeats, StudyResult
from ablate.reports.significance import covered, unread

SECOND_HAND, DOUBTFUL, MISSING, UNLIKE = "*", "?", "-", "!"


def table_of(study: StudyResult) -> published.Table:
    """The published table the study names. Raises `UserError` if it names none."""
    return published.table(_named(study).table)


def comparable(study: StudyResult) -> bool:
    """Whether the study asks published benchmarks, so that numbers may be held against numbers."""
    return bool(study.benchmarks)


def against(study: StudyResult) -> pd.DataFrame:
    """A row a candidate and measure: published, here, and `delta`, here minus published.

    Intervals are ours: that of a published number is not known.
    Of a search the winners, else all; last of each its gain and its composite.
    """
    names = {one.name: name for one, name in _pairs(study)}
    rows = []
    for one, name in _pairs(study):
        rows += [_row(study, one, name, column) for column in _scores(study)] if name else []
        reference = study.reference(one)
        before = names.get(reference.name) if reference else None
        if reference and name and before:
            rows += _gain(study, one, name, reference, before)
        rows.append(_composite(study, one, name))
    return typed(pd.DataFrame(rows, columns=_COLUMNS))


_COLUMNS = [
    *("candidate", "published_row", "measure", "published", "published_mark"),
    *(f"{name}{end}" for name in ("here", "delta") for end in ("", "_low", "_high")),
]


def caption(study: StudyResult) -> str:
    """The title of the table."""
    found = table_of(study)
    return f"{study.title}, against {found.title} ({found.version})"


def notes(study: StudyResult) -> list[str]:
    """What the marks stand for, what is not compared and why, the source and its cautions."""
    found, source = table_of(study), published.book().sources[table_of(study).source]
    if comparable(study):
        lines = [*_legend(study), *_uncompared(study), *_gains(study)]
        lines.append(
            "A difference is here minus published. Intervals are ours; those of published numbers "
            "are not known."
        )
        lines += [*covered(study.scoreboard), *unread(study)]
    else:
        lines = [
            f"Not comparable number by number: {study.suite} asks no published benchmark. "
            f"Published: {found.finding or found.title}",
            *_legend(study),
            *_gains(study),
        ]
    if study.strategy.goes_on:
        lines.append(
            "A round's winner stands beside the published row of that round, which may be another "
            "mixture of as many encoders."
        )
    lines.append(f"Source: {source.what} ({found.version}).")
    if found.missing:
        lines.append(f"Not found: {found.missing}.")
    return [*lines, found.caution] if found.caution else lines


def _legend(study: StudyResult) -> list[str]:
    """The marks that are used, a line each."""
    found, book, frame = table_of(study), published.book(), against(study)
    named = set(frame["published_row"])
    doubts = [one for one in found.suspect if one.row in named]
    unlike: dict[str, list[str]] = {}
    for name in found.columns:
        if book.columns[name].note and _tasks(study, name):
            unlike.setdefault(book.columns[name].note, []).append(name)
    texts = {
        SECOND_HAND: f"second-hand, from {book.sources[found.source].what}",
        DOUBTFUL: "; ".join(f"doubtful ({one.row}, {one.column}): {one.why}" for one in doubts),
        MISSING: "not published, or not found",
        UNLIKE: "; ".join(f"{', '.join(names)}: {note}" for note, names in unlike.items()),
    }
    used = set("".join(frame["published_mark"]))
    return [f"Marked {mark}: {text}." for mark, text in texts.items() if mark in used]


def _uncompared(study: StudyResult) -> list[str]:
    """The published scores that ours are not held against, and why."""
    left = [column for column in _scores(study) if not _tasks(study, column)]
    return [f"{column} is not compared: {_why(study, column)}." for column in left]


def _gains(study: StudyResult) -> list[str]:
    """What a gain is in, where it stands in the table."""
    lead = table_of(study).lead
    if lead is None or _tasks(study, lead):
        return []
    return [
        f"A gain is in points of {lead} as published and of the mean over {study.suite} here: hold "
        "their signs against each other, not their size."
    ]


def _named(study: StudyResult) -> Repeats:
    if study.published is None:
        raise UserError(f"{study.name} names no published table: give it the field `published`")
    return study.published


def _pairs(study: StudyResult) -> list[tuple[CandidateResult, str | None]]:
    """Our candidates with the names of their published rows."""
    rows = _named(study).rows
    if study.strategy.goes_on:
        return [(one, rows.get(one.round)) for one in study.winners]
    return [(one, rows.get(one.name)) for one in study.candidates]


def _scores(study: StudyResult) -> list[str]:
    """The columns of the published table that are scores."""
    columns = published.book().columns
    return [column for column in table_of(study).columns if columns[column].full]


def _row(study: StudyResult, one: CandidateResult, name: str, column: str) -> dict[str, Any]:
    """One published score beside ours, where it measures the same."""
    found = table_of(study)
    value, tasks = found.cell(name, column), _tasks(study, column)
    row: dict[str, Any] = {
        "candidate": one.name,
        "published_row": name,
        "measure": column,
        "published": value,
        "published_mark": mark(found, name, column, bool(tasks)),
    }
    if tasks and one.scores:
        scale = (published.book().columns[column].full or 0.0) / 100.0
        here = scale * sum(one.scores[task] for task in tasks) / len(tasks)
        ours = study.scoreboard.score(one, tasks)
        ends = (
            (scale * ours.low, scale * ours.high) if ours else ()
        )  # none if all is right or wrong
        row |= _numbers("here", here, *ends)
        if value is not None:
            row |= _numbers("delta", here - value, *(end - value for end in ends))
    return row


def _gain(
    study: StudyResult, one: CandidateResult, name: str, reference: CandidateResult, before: str
) -> list[dict[str, Any]]:
    """What a candidate gains over its reference in the published average, and in our composite.

    Nothing where there is no such average, or where it is compared itself.
    """
    found = table_of(study)
    if found.lead is None or _tasks(study, found.lead):
        return []
    now, then = (found.cell(row, found.lead) for row in (name, before))
    marks = mark(found, name, found.lead, False) + mark(found, before, found.lead, False)
    ours = study.scoreboard.difference(one, reference)
    gain = {
        "candidate": one.name,
        "published_row": name,
        "measure": f"gain over {reference.name}",
        "published": None if now is None or then is None else now - then,
        "published_mark": "".join(dict.fromkeys(marks)),
        **(_numbers("here", ours.estimate, ours.low, ours.high) if ours else {}),
    }
    return [gain]


def _composite(study: StudyResult, one: CandidateResult, name: str | None) -> dict[str, Any]:
    ours = study.scoreboard.score(one)
    return {
        "candidate": one.name,
        "published_row": name,
        "measure": f"mean over {study.suite}",
        "published_mark": MISSING,
        **_numbers("here", one.composite, *((ours.low, ours.high) if ours else ())),
    }


def _numbers(
    name: str, value: float | None, low: float | None = None, high: float | None = None
) -> dict[str, float | None]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def mark(found: published.Table, row: str, column: str, compared: bool) -> str:
    """What is to be known of a published number, in the marks of the legend."""
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
