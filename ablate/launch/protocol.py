"""What a launcher is given and what it gives: chains that run, and jobs that outlive a driver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ablate.catalog.step_kinds import DRIVER
from ablate.config.infra import Infra
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.outcome import Outcome
from ablate.worker.run import Executors


class Job(Protocol):
    """A chain that was started."""

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""


class Backend(Protocol):
    """Starts chains, `slots` of them at a time (a number that may change), and is asked every
    `pause` seconds how they are.

    `notice`: what its user should know now, beyond how chains end; `""`: nothing.
    """

    pause: float
    notice: str

    @property
    def slots(self) -> int:
        """How many chains may run now, those that run among them."""

    def start(self, chains: Sequence[Sequence[Step]]) -> Sequence[Job | None]:
        """A job for each of the chains, of which all together no more than `slots` may run; None
        for one that cannot be started now. The steps of a chain agree in `Infra.job_signature`.
        Called at each turn of the driver, also without a chain."""

    def adopt(self, drive: Path) -> Mapping[str, Job]:
        """Take over the jobs of a drive whose driver is dead; by the keys of their steps."""

    def close(self) -> bool:
        """End whatever runs and clean up; whether all of it has ended."""


@dataclass(frozen=True)
class Drive:
    """What chains are run for: the `home` with their store, the driver's own `folder` for mailboxes
    and logs, where and how (`where`, `infra`), and what does each kind of step (`executors`)."""

    home: Path
    folder: Path
    where: RunContext
    infra: Infra
    executors: Executors

    def asked(self) -> dict[str, Infra]:
        """How each kind of step runs that may come: ours, and those that `infra` speaks of."""
        kinds = dict.fromkeys((*self.executors, *self.infra.kinds))
        return {kind: self.infra.of(kind) for kind in kinds if kind != DRIVER}


class QueuedJob(Protocol):
    """A job as its queue sees it: `number` as its user types it, `reason` why it waits, in the
    queue's own word."""

    @property
    def number(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""

    def said(self) -> str:
        """Why it waits, in words."""


class Submissions:
    """The jobs that a drive has submitted, as its folder has them for whoever comes after, and the
    queue that they are in. As it stands here, those of a drive that has none.
    """

    def submitted(self) -> Mapping[str, Sequence[str]]:
        """All of them, ended or not: the keys of the steps of those that have left no answer, none
        of the others."""
        return {}

    def ask(self, jobs: Sequence[str], patience: float = 10.0) -> Mapping[str, QueuedJob] | None:
        """The jobs that the queue knows; None if it has not answered in so many seconds. Jobs that
        ended may stay known for a while."""
        return {}

    def cancel(self, jobs: Sequence[str]) -> None:
        """End these jobs; those that have ended already do not mind."""

    def logs(self, key: str) -> list[Path]:
        """What the jobs printed themselves that have a step whose key begins so."""
        return []

    def hurry(self, job: str) -> str:
        """What ends a job at once that takes its time, as the end of a line."""
        return ""
