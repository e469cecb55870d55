"""A study as it stands: its rounds, and where each step is. Imports no torch."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from ablate.commands.output import note
from ablate.config.study import Candidate, Study, load_study
from ablate.files import NO_FILE, UNREADABLE, home
from ablate.search.explore import rounds_so_far
from ablate.search.strategy import Round
from ablate.store import lease
from ablate.store.artifacts import BadArtifactError, Store
from ablate.store.lease import Holding
from ablate.store.read_cache import ReadCache, signature
from ablate.store.results import Evaluation, Failure, StoredResults, evaluation
from ablate.store.steps import Step, ancestors

State = Literal["done", "running", "failed", "waiting", "gone"]
"""`gone`: its artifact is not there, and nothing that is still to be done needs it."""


@dataclass(frozen=True)
class StepStatus:
    """Where a step is: `record` of its end, or `holding` while someone works on it.

    `spent`: seconds that attempts took which came to no end, as where it was cancelled.
    """

    state: State
    record: Mapping[str, Any] | None = None
    holding: Holding | None = None
    spent: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing is to be done about it."""
        return self.state in ("done", "gone")

    @property
    def pace(self) -> float | None:
        """How much of the step is done in a second, all its attempts taken together."""
        now = self.holding
        return now.done / now.seconds if now and now.done and now.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """How long the step will still take at this pace; None if that cannot be told."""
        now, pace = self.holding, self.pace
        return max(now.total - now.done, 0) / pace if now and now.total and pace else None


@dataclass(frozen=True)
class StudyStatus:
    """A study's rounds, and each of their steps once with its standing and its users.

    `standings`: by a step's key; `used_by`: names of candidates by key; `chains`: a candidate's
    steps, and those they start from, by its name. `older`: composites that an older version found.
    """

    study: Study
    rounds: Sequence[Round]
    steps: Sequence[Step]
    standings: Mapping[str, StepStatus]
    used_by: Mapping[str, list[str]]
    chains: Mapping[str, list[Step]]
    older: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The candidates of all rounds, in order."""
        return [candidate for turn in self.rounds for candidate in turn.candidates]

    @property
    def done(self) -> int:
        """How many steps are done, those among them whose artifacts are gone and not needed."""
        return sum(one.over for one in self.standings.values())

    @property
    def gone(self) -> list[Step]:
        """The steps whose artifacts are gone and not needed: what they were for is done."""
        return [step for step in self.steps if self.standings[step.key].state == "gone"]

    @property
    def at_work(self) -> list[Step]:
        """The steps that someone works on."""
        return [step for step in self.steps if self.standings[step.key].holding]

    @property
    def failed(self) -> list[Step]:
        """The steps whose last attempt failed."""
        return [step for step in self.steps if self.standings[step.key].state == "failed"]

    @property
    def complete(self) -> bool:
        """Whether every candidate of each round that is known has its score, or has failed."""
        known = (one for turn in self.rounds if not turn.provisional for one in turn.candidates)
        return all(self.state(one) in ("done", "failed") for one in known)

    def state(self, candidate: Candidate) -> State:
        """A candidate is done once it is scored; else failed or running if a step of it is."""
        return self._states[candidate.name]

    @cached_property
    def _states(self) -> dict[str, State]:
        """The state of each candidate, by its name."""
        found: dict[str, State] = {}
        for name, chain in self.chains.items():
            states = {self.standings[step.key].state for step in chain}
            scored = self.standings[chain[-1].key].state == "done"
            rest = (word for word in _WORST if word in states)
            found[name] = "done" if scored else next(rest, "waiting")
        return found

    def score(self, candidate: Candidate) -> float | None:
        """Its composite in 0-100, once it is scored."""
        last = self.standings[self.chains[candidate.name][-1].key]
        done = last.state == "done" and last.record
        return float(last.record["result"]["composite"]) if done and last.record else None

    def failure(self, candidate: Candidate) -> str:
        """Why it failed, in a line: the step and its message."""
        chain = self.chains[candidate.name]
        return next((reason for step in chain if (reason := self.reason(step))), "")

    def reason(self, step: Step) -> str:
        """Why a step failed, in a line with its name; "" if it did not."""
        found = self.standings[step.key]
        if found.state != "failed" or not found.record:
            return ""
        return f"{step.kind} {step.slug}: {' '.join(str(found.record['error']['message']).split())}"

    def hours(self) -> tuple[float, str]:
        """What the steps took of devices so far, in hours, and of which: `GPU` or `CPU`."""
        records = [one.record for one in self.standings.values() if one.record]
        seconds = sum(float(record.get("device_seconds", 0.0)) for record in records)
        for step in self.steps:
            one = self.standings[step.key]
            if spent := one.holding.seconds if one.holding else one.spent:
                seconds += spent * self.study.infra.of(step.kind).processes
        on_gpus = self.study.infra.device == "cuda" or any(
            record.get("device") == "cuda" for record in records
        )
        return seconds / 3600, "GPU" if on_gpus else "CPU"

    def seconds_left(self) -> float | None:
        """How long the rest takes with as many steps at once as now; None if unknown.

        A step at work is judged by its own pace, one that waits by finished steps of its kind.
        """
        spent: dict[str, list[float]] = {}
        for step in self.steps:
            found = self.standings[step.key]
            if found.state == "done" and found.record:
                spent.setdefault(step.kind, []).append(float(found.record["seconds"]))
        usual = {kind: sum(times) / len(times) for kind, times in spent.items()}
        wanted = {
            step.key: step
            for candidate in self.candidates
            if self.state(candidate) != "failed"
            for step in self.chains[candidate.name]
        }
        total, at_work = 0.0, 0
        for step in wanted.values():
            found = self.standings[step.key]
            if found.over:
                continue
            left = found.seconds_left
            if left is None:
                if step.kind not in usual:
                    return None
                left = usual[step.kind] - (found.holding.seconds if found.holding else 0.0)
            at_work += found.holding is not None
            total += max(left, 0.0)
        return total / max(at_work, 1)


KEPT = ("seconds", "device_seconds", "device", "restarts", "result")
"""What a look keeps of the record of a step that is done."""
_WORST: tuple[State, ...] = ("failed", "running")


class StatusReader:
    """Looks at a study in the store, again and again: what it has read of finished steps it keeps.

    A look asks once for each record's file whether it is still the same, and reads what is new. As
    a `Lookup` it takes records at their word where `StoredResults` checks every answer.
    """

    def __init__(self, study: Study, store: Store, last: int | None = None) -> None:
        self.study, self.store, self.last = study, store, last
        self.checked = StoredResults(store, study)
        memory = store.home / "remembered" / "records" / f"{study.id}.json"
        self.records = ReadCache(memory, of=" ".join(KEPT))
        self._listed: dict[tuple[str, str], set[str]] = {}
        self._standings: dict[str, StepStatus] = {}

    def look(self) -> StudyStatus:
        """Rounds 1 to `last` (default: all) of the study as they stand."""
        rounds = self._rounds()
        chains: dict[str, list[Step]] = {}
        used_by: dict[str, list[str]] = {}
        steps: dict[str, Step] = {}
        for turn in rounds:
            for candidate in turn.candidates:
                chains[candidate.name] = ancestors(self.checked.steps(candidate))
                for step in chains[candidate.name]:
                    steps.setdefault(step.key, step)
                    used_by.setdefault(step.key, []).append(candidate.name)
        standings = {key: self.standing(step) for key, step in steps.items()}
        needed = {step.key for chain in chains.values() for step in self._missing(chain[-1])}
        for key, one in standings.items():
            if one.state == "waiting" and key not in needed:
                standings[key] = replace(one, state="gone")
        known = (one for turn in rounds if not turn.provisional for one in turn.candidates)
        older = self.checked.older(
            one for one in known if standings[chains[one.name][-1].key].state != "done"
        )
        return StudyStatus(
            self.study, rounds, list(steps.values()), standings, used_by, chains, older
        )

    def _missing(self, step: Step) -> list[Step]:
        """What must be done to have the step: nothing above what is there."""
        if self.standing(step).state == "done":
            return []
        return [step, *(one for each in step.parents.values() for one in self._missing(each))]

    def _rounds(self) -> Sequence[Round]:
        """The rounds; an artifact that is damaged is set aside, with a note, and never was made."""
        self._forget()
        with contextlib.suppress(*UNREADABLE):  # damaged: the one who checks says what
            return rounds_so_far(self.study, self, self.last)
        while True:
            self._forget()
            try:
                return rounds_so_far(self.study, self.checked, self.last)
            except BadArtifactError as error:
                note(str(error))

    def _forget(self) -> None:
        """What a look has seen, a new one shall see anew."""
        self._listed.clear()
        self._standings.clear()

    def standing(self, step: Step) -> StepStatus:
        """Done, at work now, failed at its last attempt, or waiting; the same for all of a look."""
        if step.key not in self._standings:
            self._standings[step.key] = self._standing(step)
        return self._standings[step.key]

    def _standing(self, step: Step) -> StepStatus:
        if record := self._record(step):
            return StepStatus("done", record)
        begun = self._has("leases", step)
        failure = self.store.failure(step) if self._has("failed", step) else None
        holding = self._holding(step) if begun else None
        if holding and (holding.owner or not failure):  # of a damaged lease nobody is the owner
            return StepStatus("running", None, holding)
        if failure:
            return StepStatus("failed", failure)
        left = lease.look(self.store.leases(step)) if begun else None
        return StepStatus("waiting", spent=left.seconds if left else 0.0)

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.checked.steps(candidate)
        for step in reversed(steps):
            found = self.standing(step)
            if found.state == "done" and found.record and step is steps[-1]:
                return evaluation(self.store, step, found.record)
            if found.state == "failed" and found.record:
                return Failure(step, found.record["error"]["message"])
        return None

    def decision(self, number: int) -> dict[str, Any] | None:
        return self.checked.decision(number)

    def _record(self, step: Step) -> dict[str, Any] | None:
        """What is `KEPT` of a committed step's record; read once for as long as it stays."""
        try:
            file = signature(self.store.file(step, "record.json"))
        except NO_FILE:
            return None
        found: dict[str, Any] | None
        found = self.records.get(step.key, file, lambda: _kept(self.store.record(step)))
        return found

    def _holding(self, step: Step) -> Holding | None:
        """Who works on it; nobody, once an owner elsewhere has shown no life while we watched."""
        return self.store.watch.held(self.store.leases(step))

    def _has(self, what: str, step: Step) -> bool:
        return step.dirname in self._list(what, step.kind)

    def _list(self, what: str, kind: str) -> set[str]:
        """The names of the folders of a kind of step in a part of the store."""
        if (what, kind) not in self._listed:
            try:
                with os.scandir(self.store.home / what / kind) as entries:
                    self._listed[what, kind] = {entry.name for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                self._listed[what, kind] = set()
        return self._listed[what, kind]


def _kept(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {field: record[field] for field in KEPT if field in record} if record else None


def survey(name: str, overrides: Sequence[str], last: int | None = None) -> StudyStatus:
    """The study of this name or path, with overrides, as the store at `home()` has it."""
    return read_status(load_study(name, overrides), Store(home()), last)


def read_status(study: Study, store: Store, last: int | None = None) -> StudyStatus:
    """Rounds 1 to `last` (default: all) of a study as they stand."""
    eye = StatusReader(study, store, last)
    found = eye.look()
    eye.records.keep()
    return found
