"""From a store to a `StudyResult`: which candidates a study has, and what each has left behind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.evaluate import suites
from ablate.files import read_json
from ablate.steps import Step, steps_for
from ablate.study import Arms, Candidate, Study
from reports.model import CandidateResult, RoundResult, StepResult, StudyResult


def gather(
    study: Study,
    rounds: list[tuple[int, list[Candidate], Mapping[str, Any] | None]],
    home: Path,
) -> StudyResult:
    """The study with these rounds (number, candidates, decision), as the store at `home` has it."""
    suite = suites.resolve(study.suite)
    return StudyResult(
        name=study.name,
        title=study.title,
        question=study.question,
        kind=study.explore.kind,
        axis=study.explore.axis if isinstance(study.explore, Arms) else "rounds",
        suite=study.suite,
        tasks={task.task: task.title or task.task for task in suite.tasks},
        rounds=tuple(
            RoundResult(
                number, tuple(_candidate(study, suite, one, home) for one in members), decision
            )
            for number, members, decision in rounds
        ),
        home=home,
    )


def _candidate(
    study: Study, suite: suites.Suite, candidate: Candidate, home: Path
) -> CandidateResult:
    steps = tuple(_step(step, home) for step in steps_for(candidate, study))
    last = steps[-1]
    result = last.record.get("result") if last.status == "done" else None
    known: dict[str, Any] = {}
    if result and last.folder:
        known = {
            "scores": {task: score["value"] for task, score in result["scores"].items()},
            "composite": result["composite"],
            "answers_path": last.folder / "answers.jsonl",
            "images": home / "data" / read_json(last.folder / "data.json")["folder"],
        }
    return CandidateResult(
        name=candidate.name,
        round=candidate.round,
        encoders=candidate.encoders,
        fusion=candidate.fusion.name,
        config=candidate.model_dump(mode="json"),
        steps=steps,
        scale={task.task: task.to_percent for task in suite.tasks},
        **known,
    )


def _step(step: Step, home: Path) -> StepResult:
    """Where a step stands: committed, failed, in work or not begun."""
    for top, status in (("store", "done"), ("failed", "failed"), ("work", "running")):
        folder = home / top / step.kind / step.dirname
        if not folder.is_dir():
            continue
        record = read_json(folder / "record.json") if status != "running" else {}
        ended = folder if status != "running" else None
        return StepResult(
            step.kind, step.key, step.slug, step.dirname, status, step.spec, record, ended
        )
    return StepResult(step.kind, step.key, step.slug, step.dirname, "waiting", step.spec)
