"""A study as it stands: its rounds, and where each step is. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ablate.commands.output import note
from ablate.files import home
from ablate.lease import Holding
from ablate.results import StoredResults
from ablate.search.explore import Round, explore
from ablate.steps import Step, ancestors, steps_for
from ablate.store import BadArtifactError, Store
from ablate.study import Candidate, Study, load_study

State = Literal["done", "running", "failed", "waiting"]


@dataclass(frozen=True)
class Standing:
    """Where a step is: `record` of its end, or `holding` while someone works on it."""

    state: State
    record: Mapping[str, Any] | None = None
    holding: Holding | None = None


def standing(store: Store, step: Step) -> Standing:
    """Done, at work now, failed at its last attempt, or waiting."""
    if record := store.record(step):
        return Standing("done", record)
    if holding := store.progress(step):
        return Standing("running", None, holding)
    if failure := store.failure(step):
        return Standing("failed", failure)
    return Standing("waiting")


@dataclass(frozen=True)
class Survey:
    """A study's rounds, and each of their steps once with its standing and its users."""

    study: Study
    store: Store
    rounds: Sequence[Round]
    steps: Sequence[Step]
    used_by: Mapping[str, list[str]]
    chains: Mapping[str, list[Step]]

    @cached_property
    def standings(self) -> dict[str, Standing]:
        """Where each step is, by its key."""
        return {step.key: standing(self.store, step) for step in self.steps}

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates of all rounds, in order."""
        return [candidate for turn in self.rounds for candidate in turn.candidates]

    def state(self, candidate: Candidate) -> State:
        """A candidate is failed, running or done if one, one, or all of its steps are."""
        states = [self.standings[step.key].state for step in self.chains[candidate.name]]
        if all(state == "done" for state in states):
            return "done"
        return next((word for word in _WORST if word in states), "waiting")

    def score(self, candidate: Candidate) -> float | None:
        """Its composite in 0-100, once it is scored."""
        last = self.standings[self.chains[candidate.name][-1].key]
        done = last.state == "done" and last.record
        return float(last.record["result"]["composite"]) if done and last.record else None

    def failure(self, candidate: Candidate) -> str:
        """Why it failed, in a line: the step and its message."""
        for step in self.chains[candidate.name]:
            found = self.standings[step.key]
            if found.state == "failed" and found.record:
                said = " ".join(str(found.record["error"]["message"]).split())
                return f"{step.kind} {step.slug}: {said}"
        return ""

    def seconds_left(self) -> float | None:
        """How long the rest takes, judged by finished steps of the same kind; None if unknown."""
        spent: dict[str, list[float]] = {}
        for step in self.steps:
            found = self.standings[step.key]
            if found.state == "done" and found.record:
                spent.setdefault(step.kind, []).append(float(found.record["seconds"]))
        wanted = {
            step.key
            for candidate in self.candidates
            if self.state(candidate) != "failed"
            for step in self.chains[candidate.name]
        }
        total, at_work = 0.0, 0
        for step in self.steps:
            found = self.standings[step.key]
            if found.state == "done" or step.key not in wanted:
                continue
            if step.kind not in spent:
                return None
            usual = sum(spent[step.kind]) / len(spent[step.kind])
            if found.holding:
                at_work += 1
                usual = max(usual - found.holding.seconds, 0.0)
            total += usual
        return total / max(at_work, 1)


_WORST: tuple[State, ...] = ("failed", "running")


def survey(name: str, overrides: Sequence[str], last: int | None = None) -> Survey:
    """The study of this name or path, with overrides, as the store at `home()` has it."""
    return look(load_study(name, overrides), Store(home()), last)


def look(study: Study, store: Store, last: int | None = None) -> Survey:
    """Rounds 1 to `last` (default: all) of a study as they stand.

    An artifact that is damaged is set aside, with a note, and counts as never made.
    """
    rounds = None
    while rounds is None:
        try:
            rounds = explore(study, StoredResults(store, study), last)
        except BadArtifactError as error:
            note(str(error))
    chains: dict[str, list[Step]] = {}
    used_by: dict[str, list[str]] = {}
    steps: dict[str, Step] = {}
    for turn in rounds:
        for candidate in turn.candidates:
            chains[candidate.name] = ancestors(steps_for(candidate, study))
            for step in chains[candidate.name]:
                steps.setdefault(step.key, step)
                used_by.setdefault(step.key, []).append(candidate.name)
    return Survey(study, store, rounds, list(steps.values()), used_by, chains)
