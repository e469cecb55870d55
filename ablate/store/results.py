"""What a candidate came to, as the store has it: its scores, or why it has none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ablate.catalog import suites
from ablate.catalog.metrics import count_unread
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.files import read_checked, with_checksum, write_json
from ablate.home import Home
from ablate.store.answers import ANSWERS, rows_in
from ablate.store.artifacts import Store
from ablate.store.states import StepStates
from ablate.store.steps import Step, Texts, ancestors, steps_for

if TYPE_CHECKING:
    from ablate.stats.noise import Noise


@dataclass(frozen=True)
class Evaluation:
    """A scored candidate. `scores`: each task's, in 0..100; `composite`: their mean.

    `key` is the evaluate step's; `answers` the path of its `answers.jsonl`, None where the scores
    are all there is (see `search.tabulated`); `measure` what the composite is a mean of (see
    `suites.measure`); `counted` how many answers of each task were not read, None where the record
    is older than that.
    """

    key: str
    scores: Mapping[str, float]
    composite: float
    answers: str | None
    measure: Mapping[str, Any] = field(default_factory=dict)
    counted: Mapping[str, int] | None = None

    def unread(self) -> dict[str, int]:
        """By task how many answers its scorer could not read, of those that have any."""
        counts = self.counted or {}
        if self.counted is None and self.answers is not None:
            metrics = {task["task"]: task["metric"] for task in self.measure.get("tasks", ())}
            counts = count_unread(metrics, self.rows()) if metrics else {}
        return {task: count for task, count in counts.items() if count}

    def floor(self, others: Iterable["Evaluation"]) -> "Noise | None":
        """Training noise that is shipped of such runs, those of `others` left out; None where
        nobody has measured it (see `replicates.shipped_floor`)."""
        from ablate.store.replicates import shipped_floor  # numpy: only where it is asked for

        answers = [
            evaluation.answers for evaluation in (self, *others) if evaluation.answers is not None
        ]
        return shipped_floor([Path(path).parent for path in answers]) if self.answers else None

    def rows(self) -> list[dict[str, Any]]:
        """The answers (see `rows_in`); none where only scores are known."""
        return [] if self.answers is None else rows_in(self.answers)


@dataclass(frozen=True)
class Failure:
    """A candidate without a score: the step that failed, and its reason in a line."""

    step: Step
    message: str


class Lookup(Protocol):
    """What the search may know: how candidates ended, and what it decided before."""

    @property
    def home(self) -> Path | None:
        """Where features of frozen models are kept; None where there are none."""

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        """How the candidate ended; None while it has not."""

    def decision(self, number: int) -> dict[str, Any] | None:
        """The decision of that round as it was stored, or None."""


class NoResults:
    """A `Lookup` of a store without results: what a study tries is then the same at any time."""

    home = None

    def result(self, candidate: Candidate) -> None:
        return None

    def decision(self, number: int) -> None:
        return None


def load_evaluation(store: Store, step: Step) -> Evaluation | None:
    """The result of an evaluate step, its checksums checked; None if it is not done.

    Raises BadArtifactError (after setting it aside) if it is not what was committed.
    """
    record = store.record(step)
    if record is None:
        return None
    store.verified(step, record)
    return evaluation(store, step, record)


def evaluation(store: Store, step: Step, record: Mapping[str, Any]) -> Evaluation:
    """The result of an evaluate step that is done, as its record has it."""
    result = record["result"]
    scores = {task: float(score["value"]) for task, score in result["scores"].items()}
    counted = {task: score.get("unread") for task, score in result["scores"].items()}
    known = None if None in counted.values() else counted
    measure = suites.measure(step.spec, result.get("sets", {}))
    answers = store.file(step, ANSWERS)
    return Evaluation(step.key, scores, float(result["composite"]), answers, measure, known)


class StoredResults:
    """A study's results as the store holds them now, failures of any drive included."""

    def __init__(self, store: Store, study: Study) -> None:
        self.store, self.study = store, study
        self._steps: dict[str, list[Step]] = {}
        self.texts = Texts()
        self._former_scores: dict[str, float | None] = {}

    @property
    def home(self) -> Path:
        return self.store.home

    def steps(self, candidate: Candidate) -> list[Step]:
        """The candidate's steps, made once: a thousand candidates' keys take a while."""
        if candidate.name not in self._steps:
            self._steps[candidate.name] = steps_for(candidate, self.study, self.texts)
        return self._steps[candidate.name]

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.steps(candidate)
        evaluation = load_evaluation(self.store, steps[-1])
        return evaluation or first_failure(steps, StepStates(self.store, self.store.record))

    def older(self, unscored: Iterable[Candidate]) -> dict[str, float]:
        """The composites that ablate 0.1.0 found of these candidates, by their names."""
        scores = {candidate.name: self._former_score(candidate) for candidate in unscored}
        return {name: score for name, score in scores.items() if score is not None}

    def _former_score(self, candidate: Candidate) -> float | None:
        """Looked for once: no version of today makes another."""
        if candidate.name not in self._former_scores:
            step = self.steps(candidate)[-1]
            record = self.store.record(step.former) if step.former is not step else None
            score = float(record["result"]["composite"]) if record else None
            self._former_scores[candidate.name] = score
        return self._former_scores[candidate.name]

    def decision(self, number: int) -> dict[str, Any] | None:
        return read_decision(self.store.home, self.study, number)


def first_failure(steps: Iterable[Step], states: StepStates) -> Failure | None:
    """The first step, of these and of those they start from, that failed and is not at work."""
    states_of_steps = ((step, states.of(step)) for step in ancestors(steps))
    failed = (
        (step, now.record) for step, now in states_of_steps if now.state == "failed" and now.record
    )
    return next((Failure(step, record["error"]["message"]) for step, record in failed), None)


def told_apart(older: Mapping[str, float]) -> list[str]:
    """What there is to say of scores that an older version found."""
    scores = ", ".join(f"{name} {score:.1f}" for name, score in older.items())
    sentence = (
        "Made by an older version of ablate, whose keys held no plug-ins, evaluation sets and "
    )
    sentence += f"scorers: {scores}. These scores are not mixed with others; a run makes them anew."
    return [sentence] if older else []


def read_decision(home: Path, study: Study, number: int) -> dict[str, Any] | None:
    """The decision of a round as it was written; None if there is none, or it is damaged."""
    return read_checked(_decision(home, study, number))


def write_decision(home: Path, study: Study, number: int, decision: dict[str, Any]) -> None:
    """Write the decision of a round down, with a checksum."""
    write_json(_decision(home, study, number), with_checksum(decision))


def _decision(home: Path, study: Study, number: int) -> Path:
    return Home(home).study(study.id) / "decisions" / f"round-{number}.json"
