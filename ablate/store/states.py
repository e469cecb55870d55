"""Where a step stands: decided here and nowhere else. Imports no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ablate.store.artifacts import Store
from ablate.store.lease import Holding, look
from ablate.store.steps import Step

State = Literal["done", "running", "failed", "waiting", "gone"]
"""`gone`: its artifact is not there, and nothing that is still to be done needs it."""


def state(done: bool, holding: Holding | None, failed: bool) -> State:
    """Where a step stands whose record is there (`done`), that somebody living holds (`holding`),
    or whose last attempt `failed`. Of a damaged lease nobody is the owner."""
    if done:
        return "done"
    if holding and (holding.owner or not failed):
        return "running"
    return "failed" if failed else "waiting"


@dataclass(frozen=True)
class StepStatus:
    """Where a step stands: `record` of its end, or `holding` while someone works on it.

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


class StepStates:
    """The states of steps, each looked at once, until it is to be looked at again.

    `record` gives the record of a step that is done, or as much of it as its caller wants; None for
    one that is not.
    """

    def __init__(self, store: Store, record: Callable[[Step], Mapping[str, Any] | None]) -> None:
        self.store, self._read = store, record
        self._done: dict[str, Mapping[str, Any]] = {}
        self._absent: set[str] = set()
        self._failures: dict[str, Mapping[str, Any]] = {}
        self._seen: dict[str, StepStatus] = {}
        self._failing: set[str] | None = None
        self._begun: set[str] | None = None

    def forget(self) -> None:
        """Look at every step again when it is asked for."""
        self._done.clear()
        self._failures.clear()
        self._failing = None
        self.look_again()

    def look_again(self, steps: Iterable[Step] | None = None) -> None:
        """Look again at those of the steps (default: any) that are not done.

        A failure counts until it is gone from the store: `ablate retry`, anywhere, takes it away.
        """
        self._seen.clear()
        if steps is not None:
            self._absent.difference_update(step.key for step in steps)
            return
        self._absent.clear()
        self._begun = None
        if self._failing is not None:
            before, self._failing = self._failing, self.store.failing()
            for name in before - self._failing:
                self._failures.pop(name, None)

    def lose(self, steps: Iterable[Step]) -> None:
        """Look again at these steps, one of which is gone that was done."""
        for step in steps:
            self._done.pop(step.key, None)
            self._seen.pop(step.key, None)

    def fail(self, step: Step, message: str) -> None:
        """The step's last attempt failed, whether the store shows it already or not."""
        self._failures[step.dirname] = {"error": {"message": message}}

    def forgive(self, step: Step) -> None:
        """Forget, also in the store, that the step failed."""
        self.store.forgive(step)
        self._failures.pop(step.dirname, None)
        if self._failing is not None:
            self._failing.discard(step.dirname)

    def record(self, step: Step) -> Mapping[str, Any] | None:
        """The record of a step that is done, as `record` has it; None for one that is not."""
        if step.key not in self._done and step.key not in self._absent:
            record = self._read(step)
            if record:
                self._done[step.key] = record
            else:
                self._absent.add(step.key)
        return self._done.get(step.key)

    def failure(self, step: Step) -> Mapping[str, Any] | None:
        """The record of a step's last attempt that failed; None where it is done, or none did."""
        if step.dirname not in self._failures:
            if self._failing is None:
                self._failing = self.store.failing()
            listed = step.dirname in self._failing and not self.record(step)
            if failure := self.store.failure(step) if listed else None:
                self._failures[step.dirname] = failure
        return self._failures.get(step.dirname)

    def of(self, step: Step) -> StepStatus:
        """Done, at work now, failed at its last attempt, or waiting."""
        if step.key not in self._seen:
            self._seen[step.key] = self._look(step)
        return self._seen[step.key]

    def missing(self, step: Step) -> list[Step]:
        """What must be done to have the step, in order: nothing above what is there."""
        if self.record(step):
            return []
        above = [above for parent in step.parents.values() for above in self.missing(parent)]
        return [*above, step]

    def of_all(
        self, steps: Iterable[Step], chains: Iterable[Sequence[Step]]
    ) -> dict[str, StepStatus]:
        """Where each of `steps` stands, by key, where all that is wanted are the ends of `chains`:
        what waits and none of them needs is `gone`."""
        needed = {step.key for chain in chains for step in self.missing(chain[-1])}
        states_by_key = {step.key: self.of(step) for step in steps}
        return {
            key: replace(status, state="gone")
            if status.state == "waiting" and key not in needed
            else status
            for key, status in states_by_key.items()
        }

    def _look(self, step: Step) -> StepStatus:
        if record := self.record(step):
            return StepStatus("done", record)
        if self._begun is None:
            self._begun = self.store.begun()
        begun, failure = step.dirname in self._begun, self.failure(step)
        holding = self.store.watch.held(self.store.leases(step)) if begun else None
        now = state(False, holding, failure is not None)
        if now == "running":
            return StepStatus(now, None, holding)
        if failure:
            return StepStatus(now, failure)
        left = look(self.store.leases(step)) if begun else None
        return StepStatus(now, spent=left.seconds if left else 0.0)
