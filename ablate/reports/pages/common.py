"""Small pieces that several pages share."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ablate.reports import figures, formats
from ablate.reports.browser import shortened
from ablate.reports.drawing import Point
from ablate.reports.formats import number
from ablate.reports.links import Download
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.significance import standing
from ablate.stats.intervals import Interval

Heads = list[tuple[str, bool]]  # the headings of a table, and whether numbers stand below
Rows = list[list[str]]
ABSENT = "-"


class Cell(NamedTuple):
    """A cell that is more than its text: what it sorts by, or the page it leads to."""

    text: str
    order: str = ""
    page: str = ""


def path_of(study: StudyResult, candidate: CandidateResult) -> str:
    """The path of the candidate's page: its place in the study, stable and harmless."""
    return f"candidates/{study.numbers[candidate]:03d}"


def table(
    frame: pd.DataFrame, caption: str, name: str = "", notes: Sequence[str] = ()
) -> dict[str, Any]:
    """A frame as the template's `framed` shows it; empty if it has no row.

    `name`: of the files in which its numbers can be downloaded, with `notes`; none: it has none of
    its own.
    """
    if frame.empty:
        return {}
    heads, rows = formats.shown(frame)
    numeric = [not words for words in formats.text_columns(frame)]
    return {
        "heads": list(zip(heads, numeric, strict=True)),
        "rows": rows,
        "caption": caption,
        "downloads": downloads(frame, name, notes) if name else [],
    }


def downloads(frame: pd.DataFrame, name: str, notes: Sequence[str] = ()) -> list[Download]:
    """The frame in the formats that programs read."""
    made = {form: formats.render(frame, form, notes=notes) for form in ("csv", "json")}
    return [Download(f"{name}.{form}", text) for form, text in made.items()]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted path; lists stay whole."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    return {
        path: leaf
        for key, child in value.items()
        for path, leaf in flatten(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def spanned(estimate: float | None, interval: Interval | None, column: str) -> str:
    """A number with its interval as in every table, `61.2 [58.9, 63.4]`."""
    if estimate is None:
        return ABSENT
    low, high = (number(getattr(interval, end, None), f"{column}_{end}") for end in ("low", "high"))
    return number(estimate, column) + (f" [{low}, {high}]" if interval else "")


def short(text: str) -> Cell | str:
    """A large count as it is read: `4.0 M` for 4,000,000."""
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if text and float(text) >= scale:
            return Cell(f"{float(text) / scale:.1f} {unit}", order=text)
    return text


def points(study: StudyResult, more: Mapping[CandidateResult, str] = {}) -> dict[str, Point]:
    """What each candidate's point of a figure says and leads to; `more`: what is said besides."""
    return {
        figures.gid(study, candidate): Point(
            _point_text(study, candidate, more.get(candidate, "")), path_of(study, candidate)
        )
        for candidate in study.candidates
        if candidate.composite is not None
    }


def _point_text(study: StudyResult, candidate: CandidateResult, more: str) -> str:
    in_round = f" (round {candidate.round})" if study.strategy.goes_on else ""
    score = spanned(candidate.composite, study.scoreboard.score(candidate), "score")
    mark = standing(study, candidate)
    return ", ".join(filter(None, [f"{study.label(candidate)}{in_round}: {score}", mark, more]))


def tile(label: str, value: str, note: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def environment(record: Mapping[str, Any]) -> Rows:
    kept = ("git_commit", "host", "threads", "peak_memory_mb")
    rows = [
        [name.replace("_mb", ", MiB").replace("_", " "), text_of(record[name])]
        for name in kept
        if record.get(name) is not None
    ]
    versions = sorted((record.get("versions") or {}).items())
    parts = [*(record.get("machine") or {}).items(), *versions]
    return rows + [[name, text_of(value)] for name, value in parts]


def text_of(value: Any) -> str:
    """A setting's value in short: `none`, `a, b`, or as it is."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return shortened(", ".join(map(text_of, value)))
    return "none" if value is None else "{}" if value == {} else shortened(str(value))
