"""Where a step stands: decided here and nowhere else. Imports no torch."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
    """The states of steps, each looked at once, until `forget`.

    `record` gives the record of a step that is done, or as much of it as its caller wants; None for
    one that is not.
    """

    def __init__(self, store: Store, record: Callable[[Step], Mapping[str, Any] | None]) -> None:
        self.store, self.record = store, record
        self._seen: dict[str, StepStatus] = {}
        self._listed: dict[Path, set[str]] = {}

    def forget(self) -> None:
        """Look at each step again when it is asked for."""
        self._seen.clear()
        self._listed.clear()

    def of(self, step: Step) -> StepStatus:
        """Done, at work now, failed at its last attempt, or waiting."""
        if step.key not in self._seen:
            self._seen[step.key] = self._look(step)
        return self._seen[step.key]

    def missing(self, step: Step) -> list[Step]:
        """What must be done to have the step, in order: nothing above what is there."""
        if self.of(step).state == "done":
            return []
        above = [one for parent in step.parents.values() for one in self.missing(parent)]
        return [*above, step]

    def of_all(
        self, steps: Iterable[Step], chains: Iterable[Sequence[Step]]
    ) -> dict[str, StepStatus]:
        """Where each of `steps` stands, by key, where all that is wanted are the ends of `chains`:
        what waits and none of them needs is `gone`."""
        needed = {step.key for chain in chains for step in self.missing(chain[-1])}
        found = {step.key: self.of(step) for step in steps}
        return {
            key: replace(one, state="gone") if one.state == "waiting" and key not in needed else one
            for key, one in found.items()
        }

    def _look(self, step: Step) -> StepStatus:
        if record := self.record(step):
            return StepStatus("done", record)
        begun = self._has(self.store.leases(step))
        failure = self.store.failure(step) if self._has(self.store.failed(step)) else None
        holding = self.store.watch.held(self.store.leases(step)) if begun else None
        found = state(False, holding, failure is not None)
        if found == "running":
            return StepStatus(found, None, holding)
        if failure:
            return StepStatus(found, failure)
        left = look(self.store.leases(step)) if begun else None
        return StepStatus(found, spent=left.seconds if left else 0.0)

    def _has(self, folder: Path) -> bool:
        """Whether the folder is there; those of a kind of step are listed in one look."""
        if folder.parent not in self._listed:
            try:
                with os.scandir(folder.parent) as entries:
                    self._listed[folder.parent] = {entry.name for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder.parent] = set()
        return folder.name in self._listed[folder.parent]
