"""What a study still lacks: its rounds by what the store holds now, and the chains to make next."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.catalog import step_kinds
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.driver.events import Event, OnEvent
from ablate.errors import UserError
from ablate.search import sieving
from ablate.search.explore import rounds_so_far
from ablate.search.optuna_log import TrialLog
from ablate.store.artifacts import BadArtifactError, Store
from ablate.store.references import reference_steps
from ablate.store.results import (
    Evaluation,
    Failure,
    StoredResults,
    load_evaluation,
    write_decision,
)
from ablate.store.states import StepStates
from ablate.store.steps import Step
from ablate.strategies import Round
from ablate.worker.run_labels import RunLabels

_THERE: Mapping[str, Any] = {"done": True}
"""All that is kept of a record, of which there may be many."""


class Frontier:
    """The rounds 1 to `last` of a study, for the drive of this name.

    `labels`: who asked first for a step, by its key.
    It remembers what it found in the store; as a `Lookup` of the search it answers from that.
    """

    def __init__(
        self, study: Study, last: int | None, store: Store, drive: str, tell: OnEvent
    ) -> None:
        self.study, self.last, self.store, self.drive = study, last, store, drive
        self.tell = tell
        self.states = StepStates(store, self._sound)
        self.stored = StoredResults(store, study)
        self.trials, self._unshown = TrialLog(study, store.home, store.watch), False
        self._scores: dict[str, Evaluation] = {}
        self.labels: dict[str, RunLabels] = {}
        self.features = [*sieving.features_of(study).values()]
        self.references = [*reference_steps(study).values()]

    @property
    def home(self) -> Path:
        return self.store.home

    def rounds(self) -> list[Round]:
        """The rounds as they stand; decisions that are new are written down."""
        rounds = rounds_so_far(self.study, self, self.last)
        decided = [(turn, turn.decision) for turn in rounds if turn.decision]
        new = [
            decision
            for turn, decision in decided
            if self.decision(turn.number) != decision.to_json()
        ]
        if new or self.trials.live:  # first, so that a driver killed in between repeats both
            self._show(rounds)
        for decision in new:
            write_decision(self.store.home, self.study, decision.round, decision.to_json())
            self.tell(Event("decided", decision=decision))
        return rounds

    def _show(self, rounds: Sequence[Round]) -> None:
        """Show trials; a storage that was reached and is away now is told of once."""
        try:
            self.trials.write(rounds, self)
        except UserError as error:
            if not self.trials.reached:
                raise
            if not self._unshown:
                self.tell(Event("notice", message=f"{error}; it is asked again now and then"))
            self._unshown = True

    def chains(self, taken: Iterable[Step] = ()) -> Iterator[list[Step]]:
        """The chains that can start now, the most urgent first, with none of the steps `taken`.

        A candidate is one chain once the steps of its experts and annotators are there; each of
        these is a chain, for all candidates that have it. Those of provisional rounds are wanted
        whoever wins, so they fill slots that would wait for a decision.
        """
        keys = {step.key for step in taken}
        for step in self.features:
            if not self.is_done(step) and step.key not in keys:
                if why := self.failure(step):
                    raise UserError(f"{sieving.WHERE}: features of {step.slug}: {why}")
                yield [step]
        yield from self._of_references(keys)
        for round_ in self.rounds():
            if round_.provisional and self.study.strategy.guesses:
                continue
            for candidate in round_.candidates:
                if not round_.provisional and self.result(candidate) is not None:
                    continue
                missing = self.states.missing(self.stored.steps(candidate)[-1])
                for step in missing:
                    labels = RunLabels(self.study.id, round_.number, candidate.name)
                    self.labels.setdefault(step.key, labels)
                shared = _shared(missing)
                for chain in shared if shared or round_.provisional else [missing]:
                    keys_of_chain = {step.key for step in chain}
                    if (
                        keys_of_chain
                        and not keys_of_chain & keys
                        and not any(map(self.has_failed, chain))
                    ):
                        keys |= keys_of_chain
                        yield chain

    def _of_references(self, taken: Collection[str]) -> Iterator[list[Step]]:
        """Each reference that is not scored; of one that failed nothing else hangs on it."""
        for step in self.references:
            if step.key not in taken and not self.is_done(step) and not self.has_failed(step):
                yield [step]

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.stored.steps(candidate)
        last = steps[-1]
        if last.key not in self._scores and self.is_done(last):
            try:
                score = load_evaluation(self.store, last)
            except BadArtifactError as error:
                self.lose([last], str(error))
                score = None
            if score:
                self._scores[last.key] = score
        if last.key in self._scores:
            return self._scores[last.key]
        failures = ((step, self.failure(step)) for step in steps)
        return next((Failure(step, why) for step, why in failures if why is not None), None)

    def decision(self, number: int) -> dict[str, Any] | None:
        return self.stored.decision(number)

    def is_done(self, step: Step) -> bool:
        """Whether the step's artifact was whole when it was last looked at."""
        return self.states.record(step) is not None

    def failure(self, step: Step) -> str | None:
        """Why its last attempt failed, in this drive or before; None if it did not.

        What ended all steps of an earlier drive alike is tried again: it has been mended since, or
        is told again.
        """
        record = self.states.failure(step)
        if record is None:
            return None
        if record["error"].get("remedy") and record["drive"] != self.drive:
            self.states.forgive(step)
            return None
        return str(record["error"]["message"])

    def has_failed(self, step: Step) -> bool:
        """Whether its last attempt failed, in this drive or before."""
        return self.failure(step) is not None

    def lose(self, steps: Sequence[Step], message: str) -> None:
        """Look at these steps in the store again: one of them is gone."""
        self.states.lose(steps)
        self.tell(Event("corrupt", steps[-1], message))

    def _sound(self, step: Step) -> Mapping[str, Any] | None:
        """Of a step that is done; one whose artifact is damaged is set aside and is not."""
        record = self.store.record(step)
        if record is None:
            return None
        if not self.store.sound(step, record=record):
            self.lose([step], "an artifact was damaged; it was set aside and is made again")
            return None
        return _THERE


def _shared(steps: Iterable[Step]) -> list[list[Step]]:
    """Of these steps those that train an expert alone, each expert's in order, and each that
    annotates."""
    chains: dict[str, list[Step]] = {}
    for step in steps:
        if step.kind == step_kinds.ANNOTATE:
            chains[step.key] = [step]
        elif step_kinds.find(step.kind).per_expert:
            chains.setdefault(step.slug, []).append(step)
    return list(chains.values())
