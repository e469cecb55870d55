"""A study beside the published table it names: every published cell, ours, and the difference.

A column is compared only where it measures the same: a benchmark that lmms-eval's own task asks, an
average over such with a known rule, a size or a cost that follows from the architecture. All else
stands there uncompared, and our composite under our suite's name; where an average that is not
ours ranks the published rows, what each gains over the base stands beside what it gains here.
Numbers are in the published unit, such as 0 to 2000 for MME.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablate.catalog import published
from ablate.cost import published as published_cost
from ablate.design import llm_spec
from ablate.errors import UserError
from ablate.reports.frame import typed
from ablate.reports.model import CandidateResult, Repeats, StudyResult
from ablate.reports.significance import covered, unread
from ablate.reports.sizes import size

SECOND_HAND, DOUBTFUL, MISSING, UNLIKE, COMPUTED = "*", "?", "-", "!", "~"


def table_of(study: StudyResult) -> published.Table:
    """The published table the study names. Raises `UserError` if it names none."""
    return published.table(_named(study).table)


def comparable(study: StudyResult) -> bool:
    """Whether the study asks published benchmarks, so that numbers may be held against numbers."""
    return bool(study.benchmarks)


def against(study: StudyResult) -> pd.DataFrame:
    """A row a candidate and measure: published, here, and `delta`, here minus published.

    Of each candidate its published row, if it has one, then its gain and its composite; then the
    published rows that none of ours is. Intervals are ours: those of published numbers are not
    known.
    """
    names = {candidate.name: name for candidate, name in pairs(study)}
    rows = []
    for candidate, name in pairs(study):
        rows += _rows(study, candidate, name) if name else []
        reference = study.reference(candidate)
        before = names.get(reference.name) if reference else None
        if reference and name and before:
            rows += _gain(study, candidate, name, reference, before)
        rows.append(_composite(study, candidate, name))
    for name in others(study):
        rows += _rows(study, None, name)
    return typed(pd.DataFrame(rows, columns=_COLUMNS))


_COLUMNS = [
    *("candidate", "published_row", "measure", "published", "published_mark"),
    *(f"{name}{end}" for name in ("here", "delta") for end in ("", "_low", "_high")),
]


def pairs(study: StudyResult) -> list[tuple[CandidateResult, str | None]]:
    """Our candidates with the names of their published rows."""
    rows = _named(study).rows
    by_round = {candidate.name: rows.get(candidate.round) for candidate in study.winners}
    return [
        (candidate, rows.get(candidate.name) or by_round.get(candidate.name))
        for candidate in study.candidates
    ]


def others(study: StudyResult) -> list[str]:
    """The published rows that none of our candidates is."""
    ours = {name for _, name in pairs(study)}
    return [row.name for row in table_of(study).rows if row.name not in ours]


def caption(study: StudyResult) -> str:
    """The title of the table."""
    table = table_of(study)
    return f"{study.title}, against {table.title} ({table.version})"


def notes(study: StudyResult) -> list[str]:
    """What the marks stand for, what is not compared and why, the source and its cautions."""
    table, source = table_of(study), published.book().sources[table_of(study).source]
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
            f"Published: {table.finding or table.title}",
            *_legend(study),
            *_gains(study),
        ]
    if any(isinstance(key, int) for key in _named(study).rows):
        lines.append(
            "A round's winner stands beside the published row of that round, which may be another "
            "mixture of as many encoders."
        )
    if any(published.book().columns[name].cost == "multiply_adds" for name in table.columns):
        lines.append(f"GFLOPs here: {published_cost.RULE}.")
    lines.append(f"Source: {source.what} ({table.version}).")
    if table.missing:
        lines.append(f"Not found: {table.missing}.")
    return [*lines, table.caution] if table.caution else lines


def _legend(study: StudyResult) -> list[str]:
    """The marks that are used, a line each."""
    table, book, frame = table_of(study), published.book(), against(study)
    unlike: dict[str, list[str]] = {}
    for name in table.columns:
        if book.columns[name].note and _tasks(study, name):
            unlike.setdefault(book.columns[name].note, []).append(name)
    texts = {
        SECOND_HAND: f"second-hand, from {book.sources[table.source].what}",
        DOUBTFUL: "; ".join(_doubt(doubt) for doubt in table.suspect),
        MISSING: "not published, or not found",
        UNLIKE: "; ".join(f"{', '.join(names)}: {note}" for note, names in unlike.items()),
        COMPUTED: "not printed; the mean of the row's published cells by the average's own rule",
    }
    used = set("".join(frame["published_mark"]))
    return [f"Marked {mark}: {text}." for mark, text in texts.items() if mark in used]


def _doubt(doubt: published.Doubt) -> str:
    cells = (
        ", ".join(doubt.columns) if len(doubt.columns) < 4 else f"{len(doubt.columns)} benchmarks"
    )
    return f"doubtful ({', '.join(doubt.rows)}; {cells}): {doubt.why}"


def _uncompared(study: StudyResult) -> list[str]:
    """The published scores that ours are not held against, and why."""
    columns = published.book().columns
    scores = [name for name in table_of(study).columns if columns[name].full]
    left = [column for column in scores if not _tasks(study, column)]
    shown = [column for column in scores if _tasks(study, column) and _unlike(column)]
    return [
        *(f"{column} is not compared: {_why(study, column)}." for column in left),
        *(
            f"{column} is here on the published scale, without a difference: it is over "
            f"{', '.join(_unlike(column))} too, which may not be asked as published."
            for column in shown
        ),
    ]


def _unlike(column: str) -> list[str]:
    """What an average is over that is not asked as published."""
    columns = published.book().columns
    return [part for part in columns[column].mean_of if columns[part].note]


def _gains(study: StudyResult) -> list[str]:
    """What a difference is in, where it stands in the table."""
    lead = table_of(study).lead
    if lead is None or _tasks(study, lead):
        return []
    return [
        f"A difference to another candidate is in points of {lead} as published and of the mean "
        f"over {study.suite} here: hold their signs against each other, not their size."
    ]


def _named(study: StudyResult) -> Repeats:
    if study.published is None:
        raise UserError(f"{study.name} names no published table: give it the field `published`")
    return study.published


def _rows(study: StudyResult, candidate: CandidateResult | None, name: str) -> list[dict[str, Any]]:
    """Each cell of a published row beside that of our candidate, if we have one; no empty ones."""
    rows = [_row(study, candidate, name, column) for column in table_of(study).columns]
    return [row for row in rows if row["published"] is not None or "here" in row]


def _row(
    study: StudyResult, candidate: CandidateResult | None, name: str, column: str
) -> dict[str, Any]:
    """One published cell beside ours, where it measures the same."""
    table = table_of(study)
    value, tasks = table.cell(name, column), _tasks(study, column)
    row: dict[str, Any] = {
        "candidate": candidate and candidate.name,
        "published_row": name,
        "measure": column,
        "published": value,
        "published_mark": mark(table, name, column, bool(tasks)),
    }
    here = _here(study, candidate, column) if candidate else {}
    row |= {f"here{end}": number for end, number in here.items()}
    if value is not None and not _unlike(column):
        row |= {f"delta{end}": number - value for end, number in here.items()}
    return row


def _here(study: StudyResult, candidate: CandidateResult, column: str) -> Mapping[str, float]:
    """Our number for a column, and the `_low` and `_high` of a score; empty where there is none."""
    about = published.book().columns[column]
    if about.cost:
        cost = _COSTS[about.cost](candidate)
        return {} if cost is None else {"": cost}
    tasks = _tasks(study, column)
    if not tasks or not candidate.scores:
        return {}
    scale = (about.full or 0.0) / 100.0
    here = {"": scale * sum(candidate.scores[task] for task in tasks) / len(tasks)}
    ours = study.scoreboard.score(candidate, tasks)  # none if all is right or wrong
    return here | ({"_low": scale * ours.low, "_high": scale * ours.high} if ours else {})


def _vision_parameters(candidate: CandidateResult) -> float | None:
    parameters = published_cost.vision_parameters(candidate.encoders)
    return parameters and parameters / 1e6


def _projected_parameters(candidate: CandidateResult) -> float | None:
    """All but the language model's, as its training counted them."""
    parameters = size(candidate).parameters
    return parameters and (parameters - llm_spec(candidate.config["llm"]).parameters) / 1e6


def _multiply_adds(candidate: CandidateResult) -> float | None:
    multiply_adds = published_cost.multiply_adds(candidate.encoders)
    return multiply_adds and multiply_adds / 1e9


def _visual_tokens(candidate: CandidateResult) -> float | None:
    return size(candidate).visual_tokens


_COSTS = {
    "vision_parameters": _vision_parameters,
    "projected_parameters": _projected_parameters,
    "multiply_adds": _multiply_adds,
    "visual_tokens": _visual_tokens,
}
"""What a candidate costs, in the unit of a published column."""


def _gain(
    study: StudyResult,
    candidate: CandidateResult,
    name: str,
    reference: CandidateResult,
    before: str,
) -> list[dict[str, Any]]:
    """What a candidate gains over its reference in the published average, and in our composite.

    Nothing where there is no such average, or where it is compared itself.
    """
    table = table_of(study)
    if table.lead is None or _tasks(study, table.lead):
        return []
    now, then = (table.cell(row, table.lead) for row in (name, before))
    marks = mark(table, name, table.lead, False) + mark(table, before, table.lead, False)
    ours = study.scoreboard.difference(candidate, reference)
    gain = {
        "candidate": candidate.name,
        "published_row": name,
        "measure": f"difference to {reference.name}",
        "published": None if now is None or then is None else now - then,
        "published_mark": "".join(dict.fromkeys(marks)),
        **(_numbers("here", ours.estimate, ours.low, ours.high) if ours else {}),
    }
    return [gain]


def _composite(study: StudyResult, candidate: CandidateResult, name: str | None) -> dict[str, Any]:
    ours = study.scoreboard.score(candidate)
    return {
        "candidate": candidate.name,
        "published_row": name,
        "measure": f"mean over {study.suite}",
        "published_mark": MISSING,
        **_numbers("here", candidate.composite, *((ours.low, ours.high) if ours else ())),
    }


def _numbers(
    name: str, value: float | None, low: float | None = None, high: float | None = None
) -> dict[str, float | None]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def mark(table: published.Table, row: str, column: str, compared: bool) -> str:
    """What is to be known of a published number, in the marks of the legend."""
    book = published.book()
    if table.cell(row, column) is None:
        return MISSING
    return (
        SECOND_HAND * (book.sources[table.source].trust == "secondary")
        + DOUBTFUL * bool(table.doubt(row, column))
        + COMPUTED * table.computed(row, column)
        + UNLIKE * (compared and bool(book.columns[column].note or _unlike(column)))
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
