"""A candidate's page: scores, loss, configuration against its parent, parameters, lineage, logs."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ablate.files import read_json
from ablate.humanize import duration
from ablate.reports import story
from ablate.reports.browser import LONGEST, Browser, shortened
from ablate.reports.fairness import PLUG_IN, facts
from ablate.reports.model import CandidateResult, StepResult, StudyResult
from ablate.reports.pages.benchmarks import Benchmark
from ablate.reports.pages.common import (
    ABSENT,
    Heads,
    Rows,
    environment,
    flatten,
    spanned,
    text_of,
    tile,
)
from ablate.reports.pages.curves import Curve, curve
from ablate.reports.pages.logs import tail
from ablate.reports.significance import covered, standing, unread
from ablate.reports.tables import named


def candidate(
    study: StudyResult, one: CandidateResult, browser: Browser, found: Sequence[Benchmark]
) -> dict[str, Any]:
    """One candidate's page; `found`: how it does by benchmark, empty while it is not scored."""
    reference = study.reference(one)
    parent = reference or study.base
    among = f"{study.strategy.noun.capitalize()} of {study.name}"
    last = next((step for step in reversed(one.steps) if step.record), None)
    return {
        "one": one,
        "base": study.base,
        "parent": parent,
        "place": f"Round {one.round}" if study.strategy.goes_on else among,
        "label": study.label(one),
        "mark": standing(study, one),
        "reference": reference,
        "flips": _flips(browser, one, reference),
        "failure": _failure(one),
        "tiles": _tiles(study, one, reference),
        "task_heads": _task_heads(one, reference if found and found[0].fixed is not None else None),
        "task_rows": _task_rows(study, one, found),
        "below": [*covered(study.scoreboard), *unread(study, one)],
        "curves": [drawn for step in one.steps if (drawn := _curve(step))],
        "diff": _diff(parent.config, one.config),
        "settings": [[name, text_of(value)] for name, value in sorted(flatten(one.config).items())],
        **_trainable(one),
        "lineage_heads": _LINEAGE,
        "lineage": [_descent(study, step) for step in one.steps],
        "logs": [said for step in one.steps if (said := _log(study, step))],
        "environment": [*environment(last.record), *_plug_ins(one)] if last else [],
    }


def _plug_ins(one: CandidateResult) -> Rows:
    """The parts that other packages brought."""
    return [[name, said] for name, said in facts(one).items() if name.startswith(PLUG_IN)]


def _failure(one: CandidateResult) -> dict[str, str] | None:
    """Where it failed, and what it said."""
    if one.failure is None:
        return None
    step, error = one.failure
    said = {name: shortened(error[name], 10 * LONGEST) for name in ("type", "message")}
    return {"step": f"{step.name} {step.slug}", **said}


_LINEAGE: Heads = [
    *((title, False) for title in ("Step", "What", "Key", "Status")),
    *((title, True) for title in ("Seconds", "Restarts", "Peak MB", "Used by")),
]


def _descent(study: StudyResult, step: StepResult) -> list[str]:
    """A step's row of the lineage."""
    return [
        step.name,
        step.slug,
        step.key[:12],
        step.status,
        f"{step.seconds:.0f}" if step.record else ABSENT,
        text_of(step.record.get("restarts", ABSENT)),
        _whole(step.record.get("peak_memory_mb")),
        str(len(study.used_by[step.key])),
    ]


@cache
def _curve(step: StepResult) -> dict[str, Any] | None:
    """The loss of a step, read once for all the candidates that share it."""
    found: Curve | None = curve(step)
    return {"title": named(step), "curve": found} if found else None


def _log(study: StudyResult, step: StepResult) -> dict[str, Any] | None:
    """What a step printed last; open where it failed."""
    text = tail(study.home, step)
    return {"title": named(step), "text": text, "open": step.status == "failed"} if text else None


def _tiles(
    study: StudyResult, one: CandidateResult, reference: CandidateResult | None
) -> list[dict[str, str]]:
    tiles = []
    own = study.scoreboard.score(one)
    if own and one.composite is not None:
        note = f"95 % interval {story.span(own.low, own.high)}"
        tiles.append(tile("Score", f"{one.composite:.1f}", note))
    if len(one.seed_scores) > 1:
        scores = ", ".join(f"{score:.1f}" for score in one.seed_scores)
        tiles.append(tile("By seed", scores, f"standard deviation {one.spread:.1f}"))
    delta = study.scoreboard.difference(one, reference)
    if delta and reference:
        note = f"{story.span(delta.low, delta.high)}, against {reference.name}"
        tiles.append(tile("Difference", f"{delta.estimate:+.1f}", note))
    seconds = sum(step.seconds for step in one.steps)
    tiles.append(tile("Work", duration(seconds), f"{len(one.steps)} steps, shared ones too"))
    return tiles


def _flips(
    browser: Browser, one: CandidateResult, reference: CandidateResult | None
) -> dict[str, int] | None:
    """Where the answers of the two are in the browser; `None` if one of them has none."""
    scored = browser.candidates
    if reference not in scored or one not in scored:
        return None
    return {"a": browser.position(reference), "b": browser.position(one)}


def _task_heads(one: CandidateResult, reference: CandidateResult | None) -> Heads:
    heads = [("Benchmark", False), ("Questions", True)]
    heads += [("Unread", True)] if any(one.unread.values()) else []
    heads += [("Score", True)]
    if reference is not None:
        heads += [("Difference", True), ("Fixed", True), ("Broken", True)]
    return heads


def _task_rows(study: StudyResult, one: CandidateResult, found: Sequence[Benchmark]) -> Rows:
    rows = []
    for own in found:
        row = [study.tasks.get(own.task, own.task), str(own.questions)]
        row += [str(one.unread.get(own.task, 0))] if any(one.unread.values()) else []
        row += [spanned(one.scores.get(own.task), own.score, "score")]
        if own.fixed is not None:
            row += [spanned(own.delta.estimate if own.delta else None, own.delta, "delta")]
            row += [str(own.fixed), str(own.broken)]
        rows.append(row)
    return rows


def _diff(base: Mapping[str, Any], own: Mapping[str, Any]) -> Rows:
    before, after = flatten(base), flatten(own)
    return [
        [path, text_of(before.get(path, ABSENT)), text_of(after.get(path, ABSENT))]
        for path in sorted(before.keys() | after.keys())
        if before.get(path, ABSENT) != after.get(path, ABSENT)
    ]


def _trainable(one: CandidateResult) -> dict[str, Any]:
    """Parameters by part (rows) and stage (columns), from each step's `parameters.json`.

    A stage that each expert passes alone is one of all of them; a part of each is its own.
    """
    stages: dict[str, dict[str, Mapping[str, Any]]] = {}
    for step in one.steps:
        path = step.folder / "parameters.json" if step.folder else None
        if path and path.exists():
            own = {row["part"]: row for row in read_json(path)}
            stages[step.name] = stages.get(step.name, {}) | own
    parts = sorted({part for table in stages.values() for part in table})
    rows = []
    for part in parts:
        found = [table.get(part) for table in stages.values()]
        size = next(int(row["parameters"]) for row in reversed(found) if row)
        rows.append([part, f"{size:,}", *map(_trained, found)])
    heads: Heads = [("Part", False), ("Parameters", True), *((one, False) for one in stages)]
    return {"trainable_heads": heads, "trainable": rows}


def _trained(row: Mapping[str, Any] | None) -> str:
    """How much of a part a stage trained, in a word or as a number of parameters."""
    if row is None or not row["parameters"]:
        return ABSENT
    if "adapter" in row and row["trainable"]:
        return f"{row['adapter']}, {row['trainable']:,} trained"
    if row["trainable"] in (0, row["parameters"]):
        return "trained" if row["trainable"] else "frozen"
    return f"{row['trainable']:,} trained"


def _whole(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0f}"
