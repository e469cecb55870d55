"""A candidate's page: scores, loss, configuration against its parent, parameters, lineage, logs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ablate.files import NO_FILE, read_json
from ablate.humanize import duration
from ablate.reports import story
from ablate.reports.browser import LONGEST, Browser, shortened
from ablate.reports.explanations import RULE
from ablate.reports.fairness import PLUG_IN, facts
from ablate.reports.losses import METRICS
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
from ablate.reports.pages.explanations import explained_answers
from ablate.reports.pages.logs import tail
from ablate.reports.significance import covered, standing, unread
from ablate.reports.tables import named
from ablate.store.read_cache import signature


def candidate(
    study: StudyResult, result: CandidateResult, browser: Browser, benchmarks: Sequence[Benchmark]
) -> dict[str, Any]:
    """One candidate's page, as JSON but for its curves, which are drawn once they are asked for;
    `benchmarks`: how it does on each, empty while it is not scored."""
    reference = study.reference(result)
    parent = reference or study.base
    among = f"{study.strategy.noun.capitalize()} of {study.name}"
    last = next((step for step in reversed(result.steps) if step.record), None)
    return {
        "name": result.name,
        "encoders": result.encoders,
        "fusion": result.fusion,
        "status": result.status,
        "notes": result.notes,
        "base_encoders": study.base.encoders,
        "is_base": result is study.base,
        "parent": parent.name,
        "place": f"Round {result.round}" if study.strategy.goes_on else among,
        "label": study.label(result),
        "mark": standing(study, result),
        "reference": reference.name if reference else "",
        "flips": _flips(browser, result, reference),
        "failure": _failure(result),
        "tiles": _tiles(study, result, reference),
        "task_heads": _task_heads(
            result, reference if benchmarks and benchmarks[0].fixed is not None else None
        ),
        "task_rows": _task_rows(study, result, benchmarks),
        "below": [*covered(study.scoreboard), *unread(study, result)],
        "explained": explained_answers(study, result),
        "rule": RULE,
        "curves": lambda: [drawn for step in result.steps if (drawn := _curve(step))],
        "diff": _diff(parent.config, result.config),
        "settings": [
            [name, text_of(value)] for name, value in sorted(flatten(result.config).items())
        ],
        **_trainable(result),
        "lineage_heads": _LINEAGE,
        "lineage": [_descent(study, step) for step in result.steps],
        "logs": [log for step in result.steps if (log := _log(study, step))],
        "environment": [*environment(last.record), *_plug_ins(result)] if last else [],
    }


def made_of(values: Mapping[str, Any], result: CandidateResult) -> dict[str, Any]:
    """All that the page with these values is made of, as JSON: of curves their files."""
    return {**values, "curves": [_losses(step) for step in result.steps]}


def _losses(step: StepResult) -> list[int] | None:
    """When and how large the file of a step's losses is."""
    try:
        return signature(str(step.folder / METRICS)) if step.folder else None
    except NO_FILE:
        return None


def _plug_ins(result: CandidateResult) -> Rows:
    """The parts that other packages brought."""
    return [[name, words] for name, words in facts(result).items() if name.startswith(PLUG_IN)]


def _failure(result: CandidateResult) -> dict[str, str] | None:
    """Where it failed, and what it said."""
    if result.failure is None:
        return None
    step, error = result.failure
    error_text = {name: shortened(error[name], 10 * LONGEST) for name in ("type", "message")}
    return {"step": f"{step.name} {step.slug}", **error_text}


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


@lru_cache(1024)
def _curve(step: StepResult) -> dict[str, Any] | None:
    """The loss of a step, read once for all the candidates that share it."""
    drawn: Curve | None = curve(step)
    return {"title": named(step), "curve": asdict(drawn)} if drawn else None


def _log(study: StudyResult, step: StepResult) -> dict[str, Any] | None:
    """What a step printed last; open where it failed."""
    text = tail(study.home, step)
    return {"title": named(step), "text": text, "open": step.status == "failed"} if text else None


def _tiles(
    study: StudyResult, result: CandidateResult, reference: CandidateResult | None
) -> list[dict[str, str]]:
    tiles = []
    interval = study.scoreboard.score(result)
    if interval and result.composite is not None:
        note = f"95 % interval {story.span(interval.low, interval.high)}"
        tiles.append(tile("Score", f"{result.composite:.1f}", note))
    if len(result.seed_scores) > 1:
        scores = ", ".join(f"{score:.1f}" for score in result.seed_scores)
        tiles.append(tile("By seed", scores, f"standard deviation {result.spread:.1f}"))
    delta = study.scoreboard.difference(result, reference)
    if delta and reference:
        note = f"{story.span(delta.low, delta.high)}, against {reference.name}"
        tiles.append(tile("Difference", f"{delta.estimate:+.1f}", note))
    seconds = sum(step.seconds for step in result.steps)
    tiles.append(tile("Work", duration(seconds), f"{len(result.steps)} steps, shared ones too"))
    return tiles


def _flips(
    browser: Browser, result: CandidateResult, reference: CandidateResult | None
) -> dict[str, int] | None:
    """Where the answers of the two are in the browser; `None` if one of them has none."""
    before, after = browser.positions.get(reference), browser.positions.get(result)
    return None if before is None or after is None else {"a": before, "b": after}


def _task_heads(result: CandidateResult, reference: CandidateResult | None) -> Heads:
    heads = [("Benchmark", False), ("Questions", True)]
    heads += [("Unread", True)] if any(result.unread.values()) else []
    heads += [("Score", True)]
    if reference is not None:
        heads += [("Difference", True), ("Fixed", True), ("Broken", True)]
    return heads


def _task_rows(
    study: StudyResult, result: CandidateResult, benchmarks: Sequence[Benchmark]
) -> Rows:
    rows = []
    for benchmark in benchmarks:
        row = [study.tasks.get(benchmark.task, benchmark.task), str(benchmark.questions)]
        row += [str(result.unread.get(benchmark.task, 0))] if any(result.unread.values()) else []
        row += [spanned(result.scores.get(benchmark.task), benchmark.score, "score")]
        if benchmark.fixed is not None:
            row += [
                spanned(
                    benchmark.delta.estimate if benchmark.delta else None, benchmark.delta, "delta"
                )
            ]
            row += [str(benchmark.fixed), str(benchmark.broken)]
        rows.append(row)
    return rows


def _diff(base: Mapping[str, Any], config: Mapping[str, Any]) -> Rows:
    before, after = flatten(base), flatten(config)
    return [
        [path, text_of(before.get(path, ABSENT)), text_of(after.get(path, ABSENT))]
        for path in sorted(before.keys() | after.keys())
        if before.get(path, ABSENT) != after.get(path, ABSENT)
    ]


def _trainable(result: CandidateResult) -> dict[str, Any]:
    """Parameters by part (rows) and stage (columns), from each step's `parameters.json`.

    A stage that each expert passes alone is one of all of them; a part of each is its own.
    """
    stages: dict[str, dict[str, Mapping[str, Any]]] = {}
    for step in result.steps:
        path = step.folder / "parameters.json" if step.folder else None
        if path and path.exists():
            parts_here = {row["part"]: row for row in read_json(path)}
            stages[step.name] = stages.get(step.name, {}) | parts_here
    parts = sorted({part for table in stages.values() for part in table})
    rows = []
    for part in parts:
        rows_of_part = [table.get(part) for table in stages.values()]
        size = next(int(row["parameters"]) for row in reversed(rows_of_part) if row)
        rows.append([part, f"{size:,}", *map(_trained, rows_of_part)])
    heads: Heads = [("Part", False), ("Parameters", True), *((name, False) for name in stages)]
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
