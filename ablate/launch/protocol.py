"""What a launcher and a job of it can do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ablate.store.steps import Step
from ablate.worker.outcome import Outcome


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
        for one that cannot be started now. The steps of a chain agree in `Infra.place`. Called at
        each turn of the driver, also without a chain."""

    def adopt(self, drive: Path) -> Mapping[str, Job]:
        """Take over the jobs of a drive whose driver is dead; by the keys of their steps."""

    def close(self) -> bool:
        """End whatever runs and clean up; whether all of it has ended."""
