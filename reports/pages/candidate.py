"""A candidate's page: scores, loss, configuration against the base, parameters, lineage."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from ablate.commands.output import duration
from ablate.files import read_json
from reports import figures, story
from reports.formats import number
from reports.model import CandidateResult, StepResult, StudyResult
from reports.pages.common import ABSENT, Rows, environment, flatten, text_of, tile
from reports.tables import mark


def candidate(study: StudyResult, one: CandidateResult) -> dict[str, Any]:
    """One candidate's page."""
    reference = study.reference(one)
    broken = one.failure
    last = next((step for step in reversed(one.steps) if step.record), None)
    return {
        "one": one,
        "base": study.base,
        "place": f"Round {one.round}" if study.kind == "rounds" else f"Arm of {study.name}",
        "mark": mark(study, one),
        "reference": reference,
        "flips": _flips(study, one, reference),
        "failure": {"step": f"{broken[0].kind} {broken[0].slug}", **broken[1]} if broken else None,
        "tiles": _tiles(study, one, reference),
        "task_heads": _task_heads(reference),
        "task_rows": _task_rows(study, one, reference),
        "losses": [chart for step in one.steps if (chart := _loss(step))],
        "diff": _diff(study.base.config, one.config),
        "settings": [[name, text_of(value)] for name, value in sorted(flatten(one.config).items())],
        **_trainable(one),
        "lineage_heads": [
            ("Step", False), ("What", False), ("Key", False), ("Status", False),
            ("Seconds", True), ("Restarts", True), ("Peak MB", True), ("Used by", True),
        ],
        "lineage": [
            [
                step.kind, step.slug, step.key[:12], step.status,
                f"{step.seconds:.0f}" if step.record else ABSENT,
                text_of(step.record.get("restarts", ABSENT)),
                _whole(step.record.get("peak_memory_mb")),
                str(len(study.used_by[step.key])),
            ]
            for step in one.steps
        ],
        "environment": environment(last.record) if last else [],
    }  # fmt: skip


@cache
def _loss(step: StepResult) -> dict[str, str] | None:
    """The curve of a step, drawn once for all the candidates that share it."""
    figure = figures.loss(step)
    title = f"{step.kind} {step.slug}" if step.kind == "prealign" else step.kind
    return (
        {"title": title, "svg": figures.svg(figure, "loss", f"Loss of {title}")} if figure else None
    )


def _tiles(
    study: StudyResult, one: CandidateResult, reference: CandidateResult | None
) -> list[dict[str, str]]:
    tiles = []
    own = study.scoreboard.score(one)
    if own and one.composite is not None:
        note = f"95 % interval {story.span(own.low, own.high)}"
        tiles.append(tile("Score", f"{one.composite:.1f}", note))
    if len(one.seed_scores) > 1:
        tiles.append(tile("By seed", ", ".join(f"{score:.1f}" for score in one.seed_scores)))
    delta = study.scoreboard.difference(one, reference)
    if delta and reference:
        note = f"{story.span(delta.low, delta.high)}, against {reference.name}"
        tiles.append(tile("Difference", f"{delta.estimate:+.1f}", note))
    seconds = sum(step.seconds for step in one.steps)
    tiles.append(tile("Work", duration(seconds), f"{len(one.steps)} steps, shared ones too"))
    return tiles


def _flips(study: StudyResult, one: CandidateResult, reference: CandidateResult | None) -> str:
    """The browser's address for the two compared; empty if one of them has no answers."""
    scored = [other for other in study.candidates if other.rows]
    if reference not in scored or one not in scored:
        return ""
    return f"a={scored.index(reference)}&b={scored.index(one)}"


def _task_heads(reference: CandidateResult | None) -> list[tuple[str, bool]]:
    heads = [("Benchmark", False), ("Questions", True), ("Score", True)]
    if reference is not None:
        heads += [("Difference", True), ("95 % interval", True), ("Fixed", True), ("Broken", True)]
    return heads


def _task_rows(study: StudyResult, one: CandidateResult, reference: CandidateResult | None) -> Rows:
    rows = []
    for task, title in study.tasks.items():
        if task not in one.scores:
            continue
        mine = one.answers[one.answers["task"] == task]
        row = [title, str(len(mine)), number(one.scores[task], "score")]
        if reference is not None:
            delta = study.scoreboard.difference(one, reference, (task,))
            both = mine.merge(reference.answers, on=["task", "id"], suffixes=("", "_ref"))
            now, then = both["score"] >= 0.5, both["score_ref"] >= 0.5
            row += [number(delta.estimate, "delta") if delta else ABSENT]
            row += [story.span(delta.low, delta.high) if delta else ABSENT]
            row += [str(int((now & ~then).sum())), str(int((~now & then).sum()))]
        rows.append(row)
    return rows


def _diff(base: Mapping[str, Any], own: Mapping[str, Any]) -> Rows:
    before, after = flatten(base), flatten(own)
    hidden = {"name", "point", "round"}
    return [
        [path, text_of(before.get(path, ABSENT)), text_of(after.get(path, ABSENT))]
        for path in sorted((before.keys() | after.keys()) - hidden)
        if before.get(path, ABSENT) != after.get(path, ABSENT)
    ]


def _trainable(one: CandidateResult) -> dict[str, Any]:
    """Parameters by part (rows) and stage (columns), from each step's `parameters.json`."""
    stages: dict[str, dict[str, Mapping[str, Any]]] = {}
    for step in one.steps:
        path = step.folder / "parameters.json" if step.folder else None
        if path and path.exists() and step.kind != "prealign":
            stages[step.kind] = {row["part"]: row for row in read_json(path)}
    parts = sorted({part for table in stages.values() for part in table})
    rows = []
    for part in parts:
        found = [table.get(part) for table in stages.values()]
        size = next(int(row["parameters"]) for row in found if row)
        rows.append([part, f"{size:,}", *map(_trained, found)])
    heads = [("Part", False), ("Parameters", True), *((stage, False) for stage in stages)]
    return {"trainable_heads": heads, "trainable": rows}


def _trained(row: Mapping[str, Any] | None) -> str:
    """How much of a part a stage trained, in a word or as a number of parameters."""
    if row is None or not row["parameters"]:
        return ABSENT
    if row["trainable"] in (0, row["parameters"]):
        return "trained" if row["trainable"] else "frozen"
    return f"{row['trainable']:,} trained"


def _whole(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0f}"
