"""`ablate status` and `ablate cancel`."""

from collections.abc import Sequence
from typing import Any

from ablate.commands.output import columns, duration, emit_json, note
from ablate.commands.survey import Survey, look, survey
from ablate.files import home
from ablate.store import Store
from ablate.study import load_study


def show(name: str, overrides: Sequence[str], as_json: bool) -> None:
    """Print how far a study is."""
    found = survey(name, overrides)
    if as_json:
        emit_json(as_data(found))
    else:
        print(as_text(found))


def as_data(found: Survey) -> dict[str, Any]:
    """Rounds with their decisions, candidates with state and score, steps with progress."""
    states = [found.state(one) for one in found.candidates]
    return {
        "study": found.study.name,
        "complete": all(state in ("done", "failed") for state in states),
        "seconds_left": found.seconds_left(),
        "rounds": [
            {
                "number": turn.number,
                "provisional": turn.provisional,
                "decision": turn.decision.to_json() if turn.decision else None,
                "candidates": [
                    {
                        "name": one.name,
                        "state": found.state(one),
                        "score": found.score(one),
                        "failure": found.failure(one) or None,
                    }
                    for one in turn.candidates
                ],
            }
            for turn in found.rounds
        ],
        "steps": [_step(found, key) for key in found.standings],
    }


def as_text(found: Survey) -> str:
    """The same in columns: candidates, then what is at work, then what failed."""
    rows = []
    for turn in found.rounds:
        winner = turn.decision.winner if turn.decision else None
        for one in turn.candidates:
            score = found.score(one)
            said = found.state(one) if score is None else f"{score:.1f}"
            assumed = "if the first of the pool wins" * turn.provisional
            rows.append((turn.number, one.name, said, "winner" if one.point == winner else assumed))
    done = sum(one.state == "done" for one in found.standings.values())
    left = found.seconds_left()
    parts = [columns(("ROUND", "CANDIDATE", "SCORE OR STATE", ""), rows), *_at_work(found)]
    parts += [f"failed: {found.failure(one)}" for one in found.candidates if found.failure(one)]
    line = f"{found.study.name}: {done} of {len(found.steps)} steps done"
    if left:
        line += f", about {duration(left)} of work left"
    return "\n\n".join((*parts, line))


def cancel(name: str, overrides: Sequence[str]) -> int:
    """End what works on the study, a line each on stdout; 1 if something is left, else 0."""
    from ablate import cancel as ends

    study = load_study(name, overrides)
    found = []
    for ending in ends.cancel(home(), study.name):
        found.append(ending)
        print(f"left  {ending.what}: {ending.left}" if ending.left else f"ended {ending.what}")
    if not found:
        note(f"nothing is at work on {study.name}")
    for line in _at_work(look(study, Store(home()))):
        note(f"another study shares what is still at work\n{line}")
    return int(any(ending.left for ending in found))


def _at_work(found: Survey) -> list[str]:
    rows = []
    for step in found.steps:
        holding = found.standings[step.key].holding
        if holding:
            far = f"{holding.done} of {holding.total}" if holding.total else "starting"
            rows.append((step.key[:12], step.kind, step.slug, far, holding.note))
    return [columns(("AT WORK", "STEP", "WHAT", "DONE", ""), rows)] if rows else []


def _step(found: Survey, key: str) -> dict[str, Any]:
    step = next(step for step in found.steps if step.key == key)
    one = found.standings[key]
    row: dict[str, Any] = {"kind": step.kind, "slug": step.slug, "key": key, "state": one.state}
    if one.holding:
        row |= {"done": one.holding.done, "total": one.holding.total, "note": one.holding.note}
    if one.record:
        row |= {"seconds": one.record["seconds"], "restarts": one.record["restarts"]}
    return row
