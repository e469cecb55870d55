"""A study as it stands: its rounds, and where each step is. Imports no torch."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ablate.catalog.step_kinds import FEATURES, REFERENCE
from ablate.commands.output import note
from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.files import NO_FILE, UNREADABLE, home
from ablate.home import Home
from ablate.search.explore import rounds_so_far
from ablate.search.sieving import features_of
from ablate.store.artifacts import BadArtifactError, Store
from ablate.store.read_cache import ReadCache, signature
from ablate.store.references import reference_steps
from ablate.store.results import Evaluation, Failure, StoredResults, evaluation, first_failure
from ablate.store.states import State, StepStates, StepStatus
from ablate.store.steps import Step, ancestors
from ablate.strategies import Round


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
        return sum(standing.over for standing in self.standings.values())

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
        known = (
            candidate
            for turn in self.rounds
            if not turn.provisional
            for candidate in turn.candidates
        )
        return all(self.state(candidate) in ("done", "failed") for candidate in known)

    def state(self, candidate: Candidate) -> State:
        """A candidate is done once it is scored; else failed or running if a step of it is."""
        return self._states[candidate.name]

    @cached_property
    def _states(self) -> dict[str, State]:
        """The state of each candidate, by its name."""
        states_by_name: dict[str, State] = {}
        for name, chain in self.chains.items():
            states = {self.standings[step.key].state for step in chain}
            scored = self.standings[chain[-1].key].state == "done"
            rest = (word for word in _WORST if word in states)
            states_by_name[name] = "done" if scored else next(rest, "waiting")
        return states_by_name

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
        now = self.standings[step.key]
        if now.state != "failed" or not now.record:
            return ""
        return f"{step.label}: {' '.join(str(now.record['error']['message']).split())}"

    def hours(self) -> tuple[float, str]:
        """What the steps took of devices so far, in hours, and of which: `GPU` or `CPU`."""
        records = [standing.record for standing in self.standings.values() if standing.record]
        seconds = sum(float(record.get("device_seconds", 0.0)) for record in records)
        for step in self.steps:
            standing = self.standings[step.key]
            if spent := standing.holding.seconds if standing.holding else standing.spent:
                seconds += spent * self.study.infra.of(step.kind).processes
        on_gpus = self.study.infra.device == "cuda" or any(
            record.get("device") == "cuda" for record in records
        )
        return seconds / 3600, "GPU" if on_gpus else "CPU"

    def seconds_left(self) -> float | None:
        """How long the rest takes with as many steps at once as now; None if unknown.

        A step at work is judged by its own pace, one that waits by finished steps of its stage.
        """
        spent: dict[str, list[float]] = {}
        for step in self.steps:
            now = self.standings[step.key]
            if now.state == "done" and now.record:
                spent.setdefault(step.name, []).append(float(now.record["seconds"]))
        usual = {name: sum(times) / len(times) for name, times in spent.items()}
        wanted = {
            step.key: step
            for candidate in self.candidates
            if self.state(candidate) != "failed"
            for step in self.chains[candidate.name]
        }
        total, at_work = 0.0, 0
        for step in wanted.values():
            now = self.standings[step.key]
            if now.over:
                continue
            left = now.seconds_left
            if left is None:
                if step.name not in usual:
                    return None
                left = usual[step.name] - (now.holding.seconds if now.holding else 0.0)
            at_work += now.holding is not None
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
        memory = Home(store.home).memory("records", study.id)
        self.records = ReadCache(memory, of=" ".join(KEPT))
        self.states = StepStates(store, self._record)

    @property
    def home(self) -> Path:
        return self.store.home

    @cached_property
    def first(self) -> StudyStatus:
        """The study as the first look found it."""
        status = self.look()
        self.records.keep()
        return status

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
        for step in features_of(self.study).values():
            steps.setdefault(step.key, step)
            used_by[step.key] = list(chains)
        for name, step in reference_steps(self.study).items():
            steps.setdefault(step.key, step)
            used_by.setdefault(step.key, []).append(name)
        alone = (step for step in steps.values() if step.kind in (FEATURES, REFERENCE))
        ends = [*chains.values(), *([step] for step in alone)]
        standings = self.states.of_all(steps.values(), ends)
        known = (
            candidate for turn in rounds if not turn.provisional for candidate in turn.candidates
        )
        older = self.checked.older(
            candidate
            for candidate in known
            if standings[chains[candidate.name][-1].key].state != "done"
        )
        return StudyStatus(
            self.study, rounds, list(steps.values()), standings, used_by, chains, older
        )

    def _rounds(self) -> Sequence[Round]:
        """The rounds; an artifact that is damaged is set aside, with a note, and never was made."""
        self.states.forget()
        with contextlib.suppress(*UNREADABLE):  # damaged: the one who checks says what
            return rounds_so_far(self.study, self, self.last)
        while True:
            self.states.forget()
            try:
                return rounds_so_far(self.study, self.checked, self.last)
            except BadArtifactError as error:
                note(str(error))

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.checked.steps(candidate)
        last = self.states.of(steps[-1])
        if last.state == "done" and last.record:
            return evaluation(self.store, steps[-1], last.record)
        return first_failure(steps, self.states)

    def decision(self, number: int) -> dict[str, Any] | None:
        return self.checked.decision(number)

    def _record(self, step: Step) -> dict[str, Any] | None:
        """What is `KEPT` of a committed step's record; read once for as long as it stays."""
        try:
            file = signature(self.store.file(step, "record.json"))
        except NO_FILE:
            return None
        kept: dict[str, Any] | None
        kept = self.records.get(step.key, file, lambda: _kept(self.store.record(step)))
        return kept


def _kept(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {field: record[field] for field in KEPT if field in record} if record else None


def survey(name: str, overrides: Sequence[str], last: int | None = None) -> StudyStatus:
    """The study of this name or path, with overrides, as the store at `home()` has it."""
    return read_status(load_study(name, overrides), Store(home()), last)


def read_status(study: Study, store: Store, last: int | None = None) -> StudyStatus:
    """Rounds 1 to `last` (default: all) of a study as they stand."""
    return StatusReader(study, store, last).first
