"""Who drives a study, and what becomes of its jobs in a queue: hints for a view."""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ablate.driver.invocation import last_driven
from ablate.home import Home
from ablate.launch.protocol import QueuedJob
from ablate.store.lease import Watch

if TYPE_CHECKING:
    from ablate.launch.drives import DriverSession

PATIENCE = 2.0
"""Seconds a single look waits for a queue."""
PAUSE = 10.0
"""Seconds between two questions to a queue."""


@dataclass(frozen=True)
class Driver:
    """One that drives the study, or did. `who`: its job or process; `state`: `queued` until its job
    begins, `gone` if it left in disorder; `said`: the same in words; `log`: what its job prints.
    """

    who: str
    state: Literal["alive", "queued", "gone"]
    said: str = ""
    log: str = ""


@dataclass(frozen=True)
class Submitted:
    """A job that has not ended, and the keys of its steps in order; none if not known."""

    job: QueuedJob
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClusterJobs:
    """Drivers of a study, and the jobs of its steps; `error`: what a driver died of that was a job,
    `log`: what that printed; both `""` where the last one did not.
    """

    drivers: tuple[Driver, ...] = ()
    jobs: tuple[Submitted, ...] = ()
    error: str = ""
    log: str = ""

    @property
    def driven(self) -> bool:
        """Whether a driver is not known to be dead."""
        return any(driver.state != "gone" for driver in self.drivers)

    @property
    def waiting(self) -> list[Submitted]:
        """The jobs that have not begun."""
        return [submitted for submitted in self.jobs if submitted.job.waits]

    @property
    def ending(self) -> list[Submitted]:
        """The jobs that have answered and not ended."""
        return [submitted for submitted in self.begun if not submitted.steps]

    @property
    def begun(self) -> list[Submitted]:
        """The jobs that have begun."""
        return [submitted for submitted in self.jobs if not submitted.job.waits]


def at_hand(home: Path, study: str, watch: Watch, patience: float = PATIENCE) -> ClusterJobs:
    """What is at hand for the study of that id; without the jobs whose queue does not answer."""
    died = last_driven(home, study)
    if not Home(home).drives.is_dir():
        return ClusterJobs(error=died.error, log=died.log)
    from ablate.launch.drives import drives

    drivers: dict[Driver, None] = {}  # one may hold several drives
    jobs: list[Submitted] = []
    for drive in drives(home, study):
        steps, own_job = drive.jobs(), drive.own_job
        known = drive.submissions.ask(list(steps), patience)
        drivers[_driver(drive, watch, known)] = None
        alive = (job for job in (known or {}).values() if job.alive and job.number != own_job)
        jobs += [Submitted(job, tuple(steps.get(job.number, ()))) for job in alive]
    return ClusterJobs(tuple(drivers), tuple(jobs), died.error, died.log)


def _driver(drive: "DriverSession", watch: Watch, known: Mapping[str, QueuedJob] | None) -> Driver:
    """Whether a driver lives; `known`: its jobs and itself in their queue, None if that does not
    say."""
    process, own_job, log = drive.driver, drive.own_job, drive.log
    if holding := watch.held(drive.leases):
        owner = holding.owner or process  # may be another, which took it over
        who = f"job {owner.job}" if owner.job else f"process {owner.pid}"
        return Driver(f"{who} on {owner.host}", "alive", log=log if owner.job == own_job else "")
    if own_job is None:
        return Driver(f"process {process.pid} on {process.host}", "gone", "is gone")
    if known is None:
        return Driver(
            f"job {own_job}",
            "queued",
            f"does not run yet; {drive.launcher.name} does not say why",
            log,
        )
    job = known.get(own_job)
    if job is None or not job.alive:
        return Driver(f"job {own_job}", "gone", "is gone", log)
    words = f"waits in the queue: {job.said()}" if job.waits else "is starting"
    return Driver(f"job {own_job}", "queued", words, log)


class QueuePoller:
    """`work`, looked at again and again beside the view, which so never waits for a queue.

    As a context manager it does so until the block ends; before, there is what one look saw.
    """

    def __init__(self, home: Path, study: str) -> None:
        self.home, self.study, self.watch = home, study, Watch()
        self.work = at_hand(home, study, self.watch)
        self._over = threading.Event()

    def __enter__(self) -> "QueuePoller":
        threading.Thread(target=self._ask, daemon=True, name="queue").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _ask(self) -> None:
        while not self._over.wait(PAUSE):
            with contextlib.suppress(OSError, ValueError):  # what is seen may vanish while we look
                self.work = at_hand(self.home, self.study, self.watch, patience=60.0)
