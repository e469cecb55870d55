"""From a store to a `StudyResult`: which candidates a study has, and what each has left behind."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.evaluate import suites
from ablate.files import home as default_home
from ablate.files import read_json
from ablate.readings import Readings
from ablate.results import StoredResults
from ablate.search.explore import explore
from ablate.steps import Step, ancestors
from ablate.store import Store
from ablate.study import Arms, Candidate, Study, load_study
from reports.model import CandidateResult, Repeats, RoundResult, StepResult, StudyResult

SMALL = 2**22
"""Bytes of a file up to which its checksum is held before it is shown; weights are larger."""


def load(
    study: Study | str, home: Path | str | None = None, last: int | None = None
) -> StudyResult:
    """All that the store below `home` (default: `ablate.files.home()`) knows of a study.

    `study`: a loaded one, or its name or path; `last`: rounds 1 to it only. Rounds whose
    candidates hang on an open decision are left out. Raises UserError where a `home` that is given
    has no store, or candidates were scored by different measures.
    """
    if isinstance(study, str):
        study = load_study(study)
    if home is not None and not (Path(home) / "store").is_dir():
        raise UserError(
            f"{home} has no store: give the folder that `ablate run` filled, runs/ or $ABLATE_HOME"
        )
    home = Path(home or default_home())
    checks = Readings(home / "remembered" / "checks" / f"{study.name}.json", of="problems")
    store = Store(home, checks)
    results = StoredResults(store, study)
    rounds, steps = [], _Steps(store)
    for turn in explore(study, results, last):
        if not turn.provisional:
            decision = turn.decision.to_json() if turn.decision else None
            points: dict[str, list[Candidate]] = {}
            for candidate in turn.candidates:
                points.setdefault(candidate.point, []).append(candidate)
            made = tuple(_candidate(seeds, results, steps) for seeds in points.values())
            rounds.append(RoundResult(turn.number, made, decision))
    checks.keep()
    suite = suites.resolve(study.suite)
    suites.require_one(
        (one.name, suites.measure(step.spec["suite"], step.record["result"].get("sets", {})))
        for turn in rounds
        for one in turn.candidates
        for step in one.steps
        if step.kind == "evaluate" and step.status == "done"
    )
    return StudyResult(
        name=study.name,
        title=study.title,
        question=study.question,
        kind=study.explore.kind,
        axis=study.explore.axis if isinstance(study.explore, Arms) else "rounds",
        suite=suite.name,
        tasks={task.task: task.title or task.task for task in suite.tasks},
        planned_rounds=study.rounds,
        base_name=_base_name(study, rounds),
        rounds=tuple(rounds),
        home=store.home,
        benchmarks={task.task: task.benchmark for task in suite.tasks if suite.published},
        published=_repeats(study),
        families={task.task: task.family for task in suite.tasks},
        varies=_varies(study),
    )


def _repeats(study: Study) -> Repeats | None:
    """The published table the study names, and which of its rows our arms or rounds are."""
    if study.published is None:
        return None
    if isinstance(study.explore, Arms):
        arms = study.explore.arms
        return Repeats(study.published, {one.name: one.published for one in arms if one.published})
    return Repeats(study.published, dict(enumerate(study.explore.published, start=1)))


def _varies(study: Study) -> tuple[str, ...]:
    """What the arms set; a search adds experts."""
    if not isinstance(study.explore, Arms):
        return ("encoders",)
    return tuple(sorted({path for arm in study.explore.arms for path in arm.set}))


def _base_name(study: Study, rounds: Sequence[RoundResult]) -> str:
    """Arms are held against the one that changes nothing of the base, else against the first."""
    if isinstance(study.explore, Arms):
        for arm, design in zip(study.explore.arms, study.designs, strict=True):
            if design == study.base:
                return arm.name
    return rounds[0].candidates[0].name


def _candidate(
    seeds: Sequence[Candidate], stored: StoredResults, steps: "_Steps"
) -> CandidateResult:
    """One design point: its seeds' steps together, their scores as means."""
    first = seeds[0]
    chains = [stored.steps(candidate) for candidate in seeds]
    last = [steps.result(chain[-1]) for chain in chains]
    known: dict[str, Any] = {}
    if all(step.status == "done" for step in last):
        results = [step.record["result"] for step in last]
        known = {
            "scores": {
                task: sum(one["scores"][task]["value"] for one in results) / len(results)
                for task in results[0]["scores"]
            },
            "seed_scores": tuple(float(one["composite"]) for one in results),
            "rows": _rows(seeds, last),
            "images": _images(last[0], stored.store),
        }
    config = first.model_dump(mode="json", exclude={"name", "point", "round", "seed"})
    return CandidateResult(
        name=first.point,
        round=first.round,
        encoders=first.encoders,
        fusion=first.fusion.name,
        config={**config, "seeds": [candidate.seed for candidate in seeds]},
        steps=tuple(steps.result(step) for step in ancestors(chain[-1] for chain in chains)),
        **known,
    )


class _Steps:
    """The steps of a study as the store has them, each read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, StepResult] = {}

    def result(self, step: Step) -> StepResult:
        """Where a step stands: done, at work, failed at its last attempt, or waiting."""
        if step.key not in self._known:
            self._known[step.key] = self._read(step)
        return self._known[step.key]

    def _read(self, step: Step) -> StepResult:
        folder: Path | None = self.store.folder(step)
        record = self.store.record(step)
        if record is not None and self.store.sound(step, SMALL):
            status = "done"
        else:
            folder = work if (work := self.store.work(step)).is_dir() else None
            if self.store.progress(step):
                status = "running"
            else:
                record = self.store.failure(step)
                status = "failed" if record else "waiting"
        return StepResult(
            step.kind, step.key, step.slug, step.dirname, status, step.spec, record or {}, folder
        )


def _rows(seeds: Sequence[Candidate], last: Sequence[StepResult]) -> tuple[dict[str, Any], ...]:
    """The answers of all seeds; of several, each id is followed by its seed."""
    if len(last) == 1:
        return tuple(_answers(last[0]))
    return tuple(
        {**row, "id": f"{row['id']}/{candidate.seed}"}
        for candidate, step in zip(seeds, last, strict=True)
        for row in _answers(step)
    )


def _answers(step: StepResult) -> list[dict[str, Any]]:
    assert step.folder is not None
    lines = (step.folder / "answers.jsonl").read_text(encoding="utf-8").split("\n")
    rows: list[dict[str, Any]] = json.loads(f"[{','.join(filter(None, lines))}]")  # all at once
    return rows


def _images(step: StepResult, store: Store) -> Path | None:
    assert step.folder is not None
    note = step.folder / "data.json"
    return store.home / "data" / str(read_json(note)["folder"]) if note.exists() else None
