"""`ablate status`: how far a study is, once, live, or as data."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ablate.commands.drivers_and_jobs import ClusterJobs, QueuePoller, at_hand
from ablate.commands.output import emit_json, folded, on_terminal, say
from ablate.commands.status_text import again, as_text, starting_jobs
from ablate.commands.study_status import StatusReader, StudyStatus, read_status
from ablate.config.study import load_study
from ablate.files import home
from ablate.garbage import without_gc
from ablate.store.artifacts import Store
from ablate.store.steps import Step

LOOK = 1.0
"""Seconds between two looks at the store."""


@without_gc()
def show(name: str, overrides: Sequence[str], as_json: bool) -> None:
    """Print how far a study is."""
    study, store = load_study(name, overrides), Store(home())
    status = read_status(study, store)
    work = at_hand(store.home, study.id, store.watch)
    if as_json:
        emit_json(as_data(status, work))
    else:
        say(folded(as_text(status, work, again(name, overrides, study))))


def watch(name: str, overrides: Sequence[str], as_json: bool) -> None:
    """Show how far a study is until it is complete: on a terminal as a picture that moves.

    Elsewhere print it whenever a step, a decision or a job has moved; as JSON a line each time.
    """
    from ablate.commands import live_view as view

    study, store = load_study(name, overrides), Store(home())
    if on_terminal(sys.stdout) and not as_json:
        view.watch(study, store, again(name, overrides, study))
        return
    eye, before, command = StatusReader(study, store), None, again(name, overrides, study)
    with QueuePoller(store.home, study.id) as hints:
        while True:
            status, work = eye.look(), hints.work
            now = moved(status, work)
            if now != before:
                data = as_data(status, work)
                if as_json:
                    print(json.dumps(data), flush=True)  # in ASCII
                else:
                    say(f"{as_text(status, work, command)}\n")
            if status.complete:
                return
            before = now
            time.sleep(LOOK)


def moved(status: StudyStatus, work: ClusterJobs) -> tuple[Any, ...]:
    """What tells one state of a study from the next; how far a step is does not."""
    return (
        {key: standing.state for key, standing in status.standings.items()},
        [turn.decision for turn in status.rounds],
        work,
    )


def as_data(status: StudyStatus, work: ClusterJobs) -> dict[str, Any]:
    """Rounds with their decisions, candidates with state and score, steps with progress, jobs."""
    hours, of = status.hours()
    return {
        "study": status.study.name,
        "id": status.study.id,
        "complete": status.complete,
        "seconds_left": status.seconds_left(),
        f"{of.lower()}_hours": hours,
        "drivers": [asdict(driver) for driver in work.drivers],
        "driver_error": work.error or None,
        "driver_log": work.log or None,
        "rounds": [
            {
                "number": turn.number,
                "round": turn.round,
                "provisional": turn.provisional,
                "decision": turn.decision.to_json() if turn.decision else None,
                "candidates": [
                    {
                        "name": candidate.name,
                        "seed": candidate.seed,
                        "fidelity": candidate.fidelity.model_dump(mode="json"),
                        "mark": turn.mark(candidate.point),
                        "state": status.state(candidate),
                        "score": status.score(candidate),
                        "failure": status.failure(candidate) or None,
                    }
                    for candidate in turn.candidates
                ],
            }
            for turn in status.rounds
        ],
        "steps": [_step(status, step) for step in status.steps],
        "made_by_an_older_version": dict(status.older),
        "queue": [
            {
                "job": submitted.job.number,
                "reason": submitted.job.reason,
                "step": next(iter(submitted.steps), None),
            }
            for submitted in work.waiting
        ],
        "starting": [
            {"job": job.number, "step": step.key} for job, step in starting_jobs(status, work)
        ],
    }


def _step(status: StudyStatus, step: Step) -> dict[str, Any]:
    standing = status.standings[step.key]
    row: dict[str, Any] = {
        "kind": step.kind,
        "stage": step.name,
        "slug": step.slug,
        "key": step.key,
        "state": standing.state,
    }
    if now := standing.holding:
        row |= {"done": now.done, "total": now.total, "note": now.note, "attempt": now.number}
        row |= {"pace": standing.pace, "seconds_left": standing.seconds_left}
        row |= {"host": now.owner.host if now.owner else None}
    if standing.record:
        row |= {"seconds": standing.record["seconds"], "restarts": standing.record["restarts"]}
    return row
