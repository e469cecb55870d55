"""The tables of a study as data frames, e.g. `tables.rounds(load("micro/rounds"))` in a notebook.

A number and its 95 % interval are three columns, `score`, `score_low`, `score_high`; values are
rounded once, here, so that every format shows the same digits. `COLUMNS` gives their headings.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ablate.evaluate.statistics import Interval
from reports.model import KINDS, CandidateResult, StudyResult

# key -> (heading, digits after the point); a column that is not here is a task's score
COLUMNS: dict[str, tuple[str, int]] = {
    "round": ("Round", 0),
    "candidate": ("Candidate", 0),
    "arm": ("Arm", 0),
    "encoders": ("Encoders", 0),
    "fusion": ("Fusion", 0),
    "mark": ("Standing", 0),
    "score": ("Score", 1),
    "delta": ("Difference", 1),
    "reference": ("Reference", 0),
    "published_row": ("Published as", 0),
    "measure": ("Measure", 0),
    "published": ("Published", 1),
    "here": ("Here", 1),
    "parameters": ("Parameters", 0),
    "trainable": ("Trainable", 0),
    "seconds": ("Seconds", 0),
    "kind": ("Step", 0),
    "steps": ("Steps", 0),
    "done": ("Done", 0),
    "device_seconds": ("Device seconds", 0),
    "reused": ("Reused", 0),
    "saved": ("Seconds saved", 0),
    "share": ("Share, %", 1),
}


def digits(column: str) -> int:
    """How many digits after the point a column's numbers have."""
    stem = column.removesuffix("_low").removesuffix("_high")
    return COLUMNS.get(stem, ("", 1))[1]


def rounds(study: StudyResult) -> pd.DataFrame:
    """A row a candidate, round by round, the best first: score, interval, delta, each task.

    `delta` is against the previous round's winner; `mark` says winner, tie, failed, ...
    """
    ranked = [one for turn in study.rounds for one in best_first(turn.candidates)]
    rows = [
        {"round": one.round, **row} for one, row in zip(ranked, _rows(study, ranked), strict=True)
    ]
    return rounded(pd.DataFrame(rows))


def arms(study: StudyResult) -> pd.DataFrame:
    """A row an arm, in the study's order: score, interval, delta against the base arm, tasks."""
    return rounded(pd.DataFrame(_rows(study, study.candidates)))


def best_first(candidates: Sequence[CandidateResult]) -> list[CandidateResult]:
    """By composite, those that are not scored last; equal ones by name."""
    return sorted(candidates, key=lambda one: (-(one.composite or -1.0), one.name))


def comparison(study: StudyResult) -> pd.DataFrame:
    """The main table of a study: `rounds` of a search, `arms` otherwise."""
    return rounds(study) if study.kind == "rounds" else arms(study)


def caption(study: StudyResult) -> str:
    """The title of the main table, and what its differences are against."""
    greedy = study.kind == "rounds"
    against = "the previous round's winner" if greedy else study.base.name
    return f"{study.title} (differences against {against})"


def costs(study: StudyResult) -> pd.DataFrame:
    """A row a kind of step: how many, seconds, and what sharing steps between candidates saved."""
    rows = []
    for kind in KINDS:
        steps = [step for step in study.steps.values() if step.kind == kind]
        uses = {step.key: len(study.used_by[step.key]) for step in steps}
        rows.append(
            {
                "kind": kind,
                "steps": len(steps),
                "done": sum(step.status == "done" for step in steps),
                "seconds": sum(step.seconds for step in steps),
                "device_seconds": sum(step.device_seconds for step in steps),
                "reused": sum(uses.values()) - len(steps),
                "saved": sum(step.seconds * (uses[step.key] - 1) for step in steps),
            }
        )
    frame = pd.DataFrame(rows)
    total = frame["seconds"].sum()
    frame["share"] = 100 * frame["seconds"] / total if total else 0.0
    return rounded(frame)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dicts by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def mark(study: StudyResult, candidate: CandidateResult) -> str:
    """The standing of a candidate in its round: winner, tie, failed, running, waiting or nothing.

    A tie is what the search wrote down: winner and runner-up differ by less than the test can tell.
    """
    if candidate.status != "done":
        return candidate.status
    turn = next(turn for turn in study.rounds if candidate in turn.candidates)
    if study.kind == "arms":
        return "best" if candidate is study.best else ""
    decision = turn.decision or {}
    if candidate.name == decision.get("winner"):
        return "winner"
    if decision.get("tie") and candidate.name == decision.get("runner_up"):
        return "tie"
    return ""


def _rows(study: StudyResult, candidates: Sequence[CandidateResult]) -> list[dict[str, Any]]:
    deltas = study.scoreboard.differences([(one, study.reference(one)) for one in candidates])
    return [
        {
            "candidate": one.name,
            "mark": mark(study, one),
            "score": one.composite,
            **ends("score", study.scoreboard.score(one)),
            "delta": delta.estimate if delta else None,
            **ends("delta", delta),
            **{title: one.scores.get(task) for task, title in study.tasks.items()},
            "seconds": sum(step.seconds for step in one.steps) or None,
        }
        for one, delta in zip(candidates, deltas, strict=True)
    ]


def ends(name: str, found: Interval | None) -> dict[str, float | None]:
    """The two columns of an interval."""
    return {
        f"{name}_low": found.low if found else None,
        f"{name}_high": found.high if found else None,
    }


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numbers rounded as shown (and no minus zero), empty cells as `None`."""
    result = pd.DataFrame(index=frame.index)
    for name in frame.columns:
        places = digits(name)
        values = [_round(value, places) for value in frame[name].tolist()]
        result[name] = pd.Series(values, index=frame.index, dtype=object)
    return result


def _round(value: Any, places: int) -> Any:
    if value is None or isinstance(value, str | bool) or value != value:
        return None if value is None or value != value else value
    return round(float(value), places) + 0.0 if places else round(value)
