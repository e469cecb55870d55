"""What a study's candidates left in the store, each artifact read once."""

import weakref
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from ablate.catalog.metrics import count_unread
from ablate.catalog.step_kinds import EVALUATE, REFERENCE
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.files import NO_FILE, read_json, sha256_json
from ablate.home import Home
from ablate.humanize import duration
from ablate.reports.model import StepResult
from ablate.store.answers import ANSWERS, Answers, Key, Rows, rows_in
from ablate.store.artifacts import Store
from ablate.store.lease import Holding
from ablate.store.read_cache import ReadCache, folder_signature
from ablate.store.results import Evaluation, Failure, StoredResults, evaluation, first_failure
from ablate.store.states import StepStates, StepStatus
from ablate.store.steps import Step

SMALL = 2**22
"""Bytes of a file up to which its checksum is held before it is shown; weights are larger."""
ALIKE = {"versions", "machine", "git_commit"}
"""What records of the same machine, packages and sources say alike."""
RECENT = 4
"""Runs whose answers are held with their text: several parts of a page read the same, one after the
other, and those of all runs would fill the memory."""

Alike = TypeVar("Alike")


class CachedResults(StoredResults):
    """A study's results, each artifact read once: checked whole, or as it was when it last was.

    An artifact is remembered for as long as no file in it changes.
    """

    def __init__(self, store: Store, study: Study) -> None:
        super().__init__(store, study)
        path = Home(store.home).memory("artifacts", study.id)
        self.memory = ReadCache(path, of="records, marks by hash, and what was not read")
        here = weakref.proxy(self)  # no cycle: what was read goes with its last reader
        self.states = StepStates(store, lambda step: here._record(step))
        self._marks: dict[str, Mapping[str, Any]] = {}
        self._files: dict[str, str] = {}
        self._asked: dict[str, tuple[list[Key], list[str]]] = {}
        self._weights: dict[str, array[float]] = {}
        self._alike: dict[str, Any] = {}
        self._shown: dict[tuple[str, ...], StepResult] = {}
        self._numbers: dict[float, float] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._rows = lru_cache(RECENT)(rows_in)

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.steps(candidate)
        last = self.states.of(steps[-1])
        if last.state == "done" and last.record:
            return evaluation(self.store, steps[-1], last.record)
        return first_failure(steps, self.states)

    def step(self, step: Step, now: StepStatus) -> StepResult:
        """A step as the report shows it, one object for all the candidates that share it."""
        shown = (step.key, step.slug, step.stage, now.state)
        if shown not in self._shown:
            self._shown[shown] = self._step(step, now)
        return self._shown[shown]

    def _step(self, step: Step, now: StepStatus) -> StepResult:
        folder: Path | None = self.store.folder(step)
        if now.state != "done":
            folder = work if (work := self.store.work(step)).is_dir() else None
        identity = (step.kind, step.key, step.slug, step.dirname)
        far = _far(now.holding) if now.holding else ""
        files = self._files.get(step.key, "")
        within = self._first(folder.parent) if folder else None
        return StepResult(
            *identity, now.state, step.spec, now.record or {}, within, far, step.stage, files
        )

    def config(self, candidate: Candidate) -> dict[str, Any]:
        """The candidate's design as JSON; what is equal of two is one object."""
        parts = {"fusion": candidate.fusion, "recipe": candidate.recipe}
        rest = candidate.model_dump(mode="json", exclude={*parts, "name", "point", "round", "seed"})
        return {**rest, **{name: self.texts.parsed(part) for name, part in parts.items()}}

    def answers(self, step: Step) -> Answers:
        """The answers of an evaluate step that is done."""
        marks = self._marks[step.key]
        rows = partial(self._rows, self.store.file(step, ANSWERS))
        if (name := marks["weights"]) not in self._weights:
            weights = self.memory.get(name, name, lambda: _weights(rows()))
            self._weights[name] = array("d", weights)
        if (name := marks["asked"]) not in self._asked:
            asked = self.memory.get(name, name, lambda: _asked(rows()))
            self._asked[name] = (
                [(task, question) for task, question, _ in asked],
                [image for *_, image in asked],
            )
        scores = array("d", marks["scores"])
        return Answers(*self._asked[name], scores, self._weights[marks["weights"]], rows)

    def images(self, step: Step) -> Path | None:
        """The folder of the images that an evaluate step asked about which is done."""
        folder = self._marks[step.key]["images"]
        return self._first(Home(self.store.home).data / folder) if folder else None

    def _record(self, step: Step) -> Mapping[str, Any] | None:
        """The record of an artifact that is whole.

        A trained part that is damaged is set aside, and its step counts as never done; so are
        answers that are, and BadArtifactError says it.
        """
        try:
            files = folder_signature(str(self.store.folder(step)))
        except NO_FILE:
            files, artifact = "", self._artifact(step)
        else:
            artifact = self.memory.get(step.key, files, partial(self._artifact, step))
        if not artifact:
            return None
        self._share(artifact["record"], step)
        self._files[step.key] = files
        self._marks[step.key] = artifact.get("marks", {})
        record: Mapping[str, Any] = artifact["record"]
        return record

    def _share(self, record: dict[str, Any], step: Step) -> None:
        """Let what many records hold alike be one object in memory."""
        for name in ALIKE & record.keys():
            record[name] = self._first(record[name])
        for name in ("key", "slug"):
            if record.get(name) == getattr(step, name):
                record[name] = getattr(step, name)
        scores = (record.get("result") or {}).get("scores", {})
        for task, score in scores.items():
            scores[task] = self._first(score)

    def _first(self, value: Alike) -> Alike:
        """The first of the values that read like this one."""
        first: Alike = self._alike.setdefault(repr(value), value)
        return first

    def _artifact(self, step: Step) -> dict[str, Any] | None:
        """What is to be remembered of an artifact that is whole."""
        record = self.store.record(step)
        if record is None:
            return None
        if step.kind in (EVALUATE, REFERENCE):
            self.store.verified(step, record)
            return {"record": record, "marks": self._marked(step, record)}
        return {"record": record} if self.store.sound(step, SMALL, record) else None

    def _data(self, step: Step) -> str | None:
        """The folder of what was asked about, below the home's data; None where it is not noted."""
        try:
            folder: str = read_json(self.store.file(step, "data.json"))["folder"]
        except NO_FILE:
            return None
        return folder

    def unread(self, steps: Sequence[Step]) -> dict[str, int]:
        """By task how many answers of these evaluations were not read."""
        counts: Counter[str] = Counter()
        for step in steps:
            counts.update(self._marks[step.key]["unread"])
        return self._first(dict(counts))

    def _marked(self, step: Step, record: Mapping[str, Any]) -> dict[str, Any]:
        """What the answers are worth; their questions are remembered once for all candidates, and
        so are weights, which are mostly the same."""
        scores = record["result"]["scores"]
        rows = rows_in(self.store.file(step, ANSWERS))
        return {
            "asked": self._remembered(_asked(rows)),
            "scores": [self._numbers.setdefault(row["score"], row["score"]) for row in rows],
            "weights": self._remembered(_weights(rows)),
            "images": self._data(step),
            "unread": count_unread({task: scores[task]["metric"] for task in scores}, rows),
        }

    def _remembered(self, values: Sequence[Any]) -> str:
        """The name by which these are remembered: their hash, made once for all who have them."""
        known = tuple(values)
        if known not in self._names:
            name = self._names[known] = sha256_json(values)
            self.memory.get(name, name, lambda: values)
        return self._names[known]


def _asked(rows: Rows) -> list[tuple[str, str, str]]:
    """Task, id and image of each question."""
    return [(row["task"], row["id"], row["image"]) for row in rows]


def _weights(rows: Rows) -> list[float]:
    return [row["weight"] for row in rows]


def _far(now: Holding) -> str:
    """How far a step is, and how long it still takes at its pace."""
    if not now.done or not now.total:
        return "starting"
    progress = f"{now.done:,} of {now.total:,}"
    if not now.seconds:
        return progress
    return f"{progress}, about {duration((now.total - now.done) * now.seconds / now.done)} left"
