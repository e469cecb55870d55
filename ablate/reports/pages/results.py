"""The page of rounds or arms: every candidate with intervals."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from ablate.home import Home
from ablate.redaction import redact
from ablate.reports import figures, looks, losses, references, significance, story
from ablate.reports.drawing import drawing
from ablate.reports.formats import ROWS, number
from ablate.reports.frame import COLUMNS, plain, records
from ablate.reports.model import CandidateResult, RoundResult, StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import path_of, table
from ablate.reports.pages.fragility import fragility
from ablate.reports.tables import columns_of, comparison, notes
from ablate.search.optuna_log import JOURNAL


def results(study: StudyResult, downloads: Sequence[str]) -> dict[str, Any]:
    """A table a round (arms are one)."""
    frame, sure = comparison(study), significance.significance(study)
    frame = frame.merge(sure[["candidate", "p"]], on="candidate", how="left")
    if not study.strategy.goes_on:
        frame = frame.sort_values("score", ascending=False, kind="stable")
    noted = [
        f"{candidate.name}: {line}" for candidate in study.candidates for line in candidate.notes
    ]
    looked = looks.look_lines(study)  # they have their tables
    elsewhere = {*looked, *references.lines(study)}
    span, below = _span(study), [*noted, *(line for line in notes(study) if line not in elsewhere)]
    return {
        "heading": study.strategy.heading,
        "varied": [COLUMNS[name][0] for name in _varied(study)],
        "families": _families(study),
        "references": table(references.references(study), references.CAPTION, "references"),
        "turns": [_turn(study, turn, frame, span) for turn in study.rounds],
        "losses": drawing(figures.losses(study), "losses", LOSSES) if _has_losses(study) else None,
        "losses_caption": _losses_caption(study),
        "p_head": "p" if study.scoreboard.noise else "p, of this run",
        "downloads": downloads,
        "seeds": max(len(candidate.config["seeds"]) for candidate in study.candidates),
        "below": below,
        "fragility": fragility(study),
        "sureness": [line for line in significance.notes(study) if line not in below],
        "optuna": _optuna(study),
    }


LOSSES = "Training loss of fine-tuning by step, smoothed: dashed the base, bold the best"


def _losses_caption(study: StudyResult) -> str:
    """What the figure shows, and of how many candidates where it has no line for each."""
    known = sum(losses.has_curve(candidate) for candidate in study.candidates)
    few = f". The base, and the {losses.LINES - 1} best of {known} candidates"
    return LOSSES + few * (known > losses.LINES)


def _has_losses(study: StudyResult) -> bool:
    """Whether any step left a log of its loss."""
    return any(losses.has_curve(candidate) for candidate in study.candidates)


def _varied(study: StudyResult) -> list[str]:
    """The columns of what candidates differ in."""
    return list(columns_of(study))


def _families(study: StudyResult) -> list[tuple[str, list[str]]]:
    """The columns of benchmarks, neighbours of one family together, in the suite's order."""
    grouped = groupby(study.tasks.items(), key=lambda task: study.families.get(task[0], ""))
    return [(family, [title for _, title in tasks]) for family, tasks in grouped]


def _turn(
    study: StudyResult, turn: RoundResult, frame: pd.DataFrame, span: tuple[float, float]
) -> dict[str, Any]:
    named = {candidate.name: candidate for candidate in turn.candidates}
    here = frame[frame["candidate"].isin(named)]
    ranks = {title: _ranks(plain(here[title]).tolist()) for title in study.tasks.values()}
    caption = (
        f"Round {turn.number}: {len(here)} {study.strategy.noun}{'s' if len(here) > 1 else ''}"
        if study.strategy.goes_on
        else f"{len(here)} {study.strategy.noun}s, held against {study.base.name}"
    )
    failed = (turn.decision or {}).get("failed") or {}
    return {
        "number": turn.number,
        "sentence": story.chose(study, turn) if study.strategy.goes_on else "",
        "failed": ", ".join(sorted(failed)),
        "looks": looks.rows(study, turn),
        "caption": caption,
        "rows": (  # each made as it is written: of many candidates they would fill the memory
            _row(study, row, named[row["candidate"]], ranks, span)
            for start in range(0, len(here), ROWS)
            for row in records(here[start : start + ROWS])
        ),
    }


def _ranks(values: list[float | None]) -> dict[float, str]:
    """The marks of the best value, and of the second where others are worse still."""
    ranked = sorted({round(value, 1) for value in values if value is not None}, reverse=True)
    marks = ("top", "second") if len(ranked) > 2 else ("top",)
    return dict(zip(ranked, marks, strict=False)) if len(ranked) > 1 else {}


def _rank(ranks: Mapping[float, str], value: float | None) -> str:
    return "" if value is None else ranks.get(round(value, 1), "")


def _row(
    study: StudyResult,
    row: Mapping[str, Any],
    candidate: CandidateResult,
    ranks: Mapping[str, Mapping[float, str]],
    span: tuple[float, float],
) -> dict[str, Any]:
    texts = {
        name: number(row[name], name)
        for stem in ("score", "delta")
        for name in (stem, f"{stem}_low", f"{stem}_high")
    }
    return {
        **texts,
        "path": path_of(study, candidate),
        "label": study.label(candidate),
        "varied": [number(row[name], name) for name in _varied(study)],
        "spread": number(row.get("spread"), "spread"),
        "mark": row["mark"],
        "reason": row["reason"],
        "p": number(row["p"], "p"),
        "tasks": [
            {"text": number(row[title], title), "rank": _rank(ranks[title], row[title])}
            for title in study.tasks.values()
        ],
        "seconds": number(row["seconds"], "seconds"),
        "whisker": _whisker(study, candidate, span),
    }


def _span(study: StudyResult) -> tuple[float, float]:
    """The range that all intervals of the study span."""
    every = [
        interval
        for candidate in study.candidates
        if (interval := study.scoreboard.score(candidate))
    ]
    low = min((each.low for each in every), default=0.0)
    return low, max((each.high for each in every), default=1.0)


def _whisker(
    study: StudyResult, candidate: CandidateResult, span: tuple[float, float]
) -> dict[str, str] | None:
    """The candidate's interval in percent of the range of all."""
    interval = study.scoreboard.score(candidate)
    if interval is None or candidate.composite is None:
        return None
    low, high = span
    scale = 100 / ((high - low) or 1.0)
    ends = {"low": interval.low, "middle": candidate.composite, "high": interval.high}
    return {name: f"{(value - low) * scale:.1f}" for name, value in ends.items()}


def _optuna(study: StudyResult) -> str:
    """What its dashboard opens: the journal, or the storage that the study names."""
    view = study.strategy.view
    if view and view.storage != "journal":
        return redact(view.storage)
    path = Home(study.home).study(study.id) / JOURNAL
    return path.relative_to(study.home).as_posix() if path.exists() else ""


PAGE = ReportPage(
    lambda study: study.strategy.heading, lambda source: results(source.study, source.downloads), 20
)
