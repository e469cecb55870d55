"""`ablate plan`: every candidate and step, what is cached, what is shared by whom."""

from collections.abc import Sequence
from typing import Any

from ablate.commands.output import columns, emit_json
from ablate.commands.survey import Survey, survey
from ablate.data.spec import missing, rows
from ablate.study import Study


def show(name: str, overrides: Sequence[str], last: int | None, as_json: bool) -> None:
    """Print the plan of rounds 1 to `last`."""
    found = survey(name, overrides, last)
    if as_json:
        emit_json(as_data(found))
    else:
        print(as_text(found))


def as_data(found: Survey) -> dict[str, Any]:
    """The plan as JSON values."""
    return {
        "study": found.study.name,
        "title": found.study.title,
        "candidates": [
            {
                "name": one.name,
                "round": turn.number,
                "provisional": turn.provisional,
                "encoders": list(one.encoders),
                "fusion": one.fusion.model_dump(mode="json"),
                "llm": one.llm,
                "seed": one.seed,
                "steps": [step.key for step in found.chains[one.name]],
            }
            for turn in found.rounds
            for one in turn.candidates
        ],
        "steps": [
            {
                "kind": step.kind,
                "slug": step.slug,
                "key": step.key,
                "cached": found.standings[step.key].state == "done",
                "used_by": found.used_by[step.key],
            }
            for step in found.steps
        ],
        "data": {
            name: {"rows": rows(source), "here": not missing(source)}
            for name, source in found.study.learnt_from.items()
        },
    }


def as_text(found: Survey) -> str:
    """The plan in columns, with a line that sums it up."""
    cached = sum(one.state == "done" for one in found.standings.values())
    shared = sum(len(names) > 1 for names in found.used_by.values())
    candidates = [
        (turn.number, one.name, one.fusion.name, "if the first of the pool wins" * turn.provisional)
        for turn in found.rounds
        for one in turn.candidates
    ]
    steps = [
        (
            step.key[:12],
            step.kind,
            step.slug,
            "cached" if found.standings[step.key].state == "done" else "to do",
            len(found.used_by[step.key]),
        )
        for step in found.steps
    ]
    return "\n\n".join(
        (
            f"{found.study.name}: {found.study.title}",
            columns(("ROUND", "CANDIDATE", "FUSION", ""), candidates),
            columns(("KEY", "STEP", "WHAT", "STATE", "USED BY"), steps),
            f"{len(candidates)} candidates, {len(steps)} steps: {cached} cached, "
            f"{len(steps) - cached} to do; {shared} shared by several candidates.",
            *_absent(found.study),
        )
    )


def _absent(study: Study) -> list[str]:
    """What there is to say of data that is planned with but not here."""
    absent = [
        f"{name} ({rows(source):,} rows)"
        for name, source in study.learnt_from.items()
        if missing(source)
    ]
    said = "Not on this machine, counted as declared: "
    note = ". The keys above are made of that; with the data there they are others."
    return [said + ", ".join(absent) + note] if absent else []
