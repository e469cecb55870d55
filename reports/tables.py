"""The tables of a study as data frames, e.g. `tables.rounds(load("micro/rounds"))` in a notebook.

A number and its 95 % interval are three columns, `score`, `score_low`, `score_high`; values are
rounded once, here, so that every format shows the same digits. `COLUMNS` gives their headings.
"""

from functools import cache
from typing import Any

import pandas as pd

from ablate.evaluate.statistics import DRAWS, Interval, bootstrap, paired_bootstrap
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


@cache
def interval(candidate: CandidateResult, tasks: tuple[str, ...] | None = None) -> Interval | None:
    """The 95 % interval of the composite, resampled over images; `None` without answers.

    `tasks`: of the mean of these alone.
    """
    rows = candidate.answers
    if tasks is not None:
        rows = rows[rows["task"].isin(tasks)]
    if rows.empty:
        return None
    return bootstrap(
        rows["points"].to_numpy(),
        rows["image"].to_numpy(),
        rows["task"].to_numpy(),
        weights=rows["weight"].to_numpy(),
    )


@cache
def difference(
    candidate: CandidateResult,
    reference: CandidateResult,
    task: str | None = None,
    draws: int = DRAWS,
) -> Interval | None:
    """`candidate` minus `reference` in points, with its paired 95 % interval.

    Over the questions both answered, of one `task` or (default) of all; `None` if there are none.
    """
    both = candidate.answers.merge(reference.answers, on=["task", "id"], suffixes=("", "_ref"))
    if task is not None:
        both = both[both["task"] == task]
    if both.empty:
        return None
    return paired_bootstrap(
        both["points"].to_numpy(),
        both["points_ref"].to_numpy(),
        both["image"].to_numpy(),
        both["task"].to_numpy(),
        draws=draws,
        weights=(both["weight"].to_numpy(), both["weight_ref"].to_numpy()),
    )


def rounds(study: StudyResult) -> pd.DataFrame:
    """A row a candidate, round by round, the best first: score, interval, delta, each task.

    `delta` is against the previous round's winner; `mark` says winner, tie, failed, ...
    """
    rows = []
    for turn in study.rounds:
        ranked = sorted(turn.candidates, key=lambda one: (-(one.composite or -1.0), one.name))
        rows += [{"round": turn.number, **_row(study, one)} for one in ranked]
    return rounded(pd.DataFrame(rows))


def arms(study: StudyResult) -> pd.DataFrame:
    """A row an arm, in the study's order: score, interval, delta against the base arm, tasks."""
    return rounded(pd.DataFrame([_row(study, one) for one in study.candidates]))


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


def _row(study: StudyResult, candidate: CandidateResult) -> dict[str, Any]:
    reference = study.reference(candidate)
    own = interval(candidate)
    delta = difference(candidate, reference) if reference is not None else None
    row: dict[str, Any] = {
        "candidate": candidate.name,
        "mark": mark(study, candidate),
        "score": candidate.composite,
        "score_low": own.low if own else None,
        "score_high": own.high if own else None,
        "delta": delta.estimate if delta else None,
        "delta_low": delta.low if delta else None,
        "delta_high": delta.high if delta else None,
    }
    row |= {title: candidate.scores.get(task) for task, title in study.tasks.items()}
    known = all(step.record for step in candidate.steps)
    row["seconds"] = (known and sum(step.seconds for step in candidate.steps)) or None
    return row


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numbers rounded as shown (and no minus zero), empty cells as `None`."""
    result = pd.DataFrame(index=frame.index)
    for name in frame.columns:
        values = [_round(value, digits(name)) for value in frame[name].tolist()]
        result[name] = pd.Series(values, index=frame.index, dtype=object)
    return result


def _round(value: Any, places: int) -> Any:
    if value is None or isinstance(value, str | bool) or value != value:
        return None if value is None or value != value else value
    return round(float(value), places) + 0.0 if places else round(value)
