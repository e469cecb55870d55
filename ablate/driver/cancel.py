"""Ends what works on a study, and nothing else: its drivers, their workers, their jobs.

What belongs to a study is what its drivers started; each keeps a list of that in its folder. A step
that studies share is ended only where it is this study's worker that has it. What a worker was at
stays in its work folder.
"""

import shutil
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ablate.launch.drives import DriverSession, drives
from ablate.polling import wait_until
from ablate.store.lease import Watch
from ablate.store.process import Process

ORDERLY = 30.0
"""Seconds a driver is given to end its workers and jobs, and itself."""
FAR = 60.0
"""The same on another machine, where the wish arrives as late as the shared folder is seen; longer
than it takes to tell that a driver there is dead."""
GRACE = 5.0
"""Seconds a worker has to give back its step when it is ended."""
PAUSE = 0.1


@dataclass(frozen=True)
class CancelResult:
    """Something that worked on the study. `left`: why it still does, and what to do; "" if not."""

    what: str
    left: str = ""


def cancel(home: Path, study: str | None = None) -> Iterator[CancelResult]:
    """End the drivers of the study of that id (None: of all), and all that they started.

    Says of each thing, as soon as that is known, that it ended or why it is left.
    """
    watch, mine = Watch(), list(drives(home, study))
    alive = [drive for drive in mine if watch.held(drive.leases)]
    jobs = [_alive(drive, list(drive.jobs())) for drive in mine]  # before their driver ends them
    for drive in mine:  # all of them first: none shall take up what another leaves
        drive.stop()
    for drive, its in zip(mine, jobs, strict=True):
        yield from _ended(drive, _driver(drive, watch) if drive in alive else (), its)


def _ended(
    drive: DriverSession, driver: Iterable[CancelResult], jobs: Sequence[str] | None
) -> Iterator[CancelResult]:
    workers = [worker for worker in drive.workers() if not _gone(worker)]
    whole = True
    for ending in chain(driver, _workers(drive, workers), _jobs(drive, jobs)):
        yield ending
        whole = whole and not ending.left
    if whole:
        shutil.rmtree(drive.folder, ignore_errors=True)


def _driver(drive: DriverSession, watch: Watch) -> Iterator[CancelResult]:
    """The driver, which ends what it started on its way out."""
    driver = drive.driver
    what = f"driver of {drive.study}, process {driver.pid} on {driver.host}"
    driver.end(signal.SIGTERM)
    patience = ORDERLY if driver.near else FAR
    if wait_until(patience, lambda: watch.held(drive.leases) is None, PAUSE):
        yield CancelResult(what)
    elif driver.near:
        yield CancelResult(what, f"not ended in {ORDERLY:.0f} s; `kill -9 {driver.pid}` does it")
    else:
        there = f"the same command on {driver.host} ends it, if it is alive"
        yield CancelResult(what, f"asked to stop, no answer in {FAR:.0f} s; {there}")


def _workers(drive: DriverSession, workers: Sequence[Process]) -> Iterator[CancelResult]:
    for worker in workers:
        worker.end(signal.SIGTERM)
    for worker in workers:
        what = f"worker of {drive.study}, process {worker.pid} on {worker.host}"
        if worker.near:
            if not wait_until(GRACE, partial(_gone, worker), PAUSE):
                worker.end(signal.SIGKILL)
            yield CancelResult(what)
        elif drive.folder.exists():
            there = f"the same command on {worker.host} ends it"
            yield CancelResult(what, f"{there}; else it ends with its step")
        else:
            yield CancelResult(what)


def _gone(worker: Process) -> bool:
    """Whether it is known to have ended."""
    return worker.runs() is False


def _jobs(drive: DriverSession, jobs: Sequence[str] | None) -> Iterator[CancelResult]:
    """Its jobs that were alive; None: unknown. And those that it has submitted since."""
    if jobs is None:
        what = f"jobs of {drive.study}: {', '.join(drive.jobs())}"
        queue = drive.launcher.name.capitalize()
        away = f"{queue} does not answer here; run the same again where it does"
        yield CancelResult(what, away)
        return
    jobs = list(dict.fromkeys([*jobs, *(_alive(drive, list(drive.jobs())) or ())]))
    drive.submissions.cancel(jobs)
    wait_until(ORDERLY, lambda: _alive(drive, jobs) == [], PAUSE)
    rest = _alive(drive, jobs)
    for job in jobs:
        left = f"still ending; {drive.submissions.hurry(job)}"
        gone = rest is not None and job not in rest
        yield CancelResult(f"job of {drive.study}: {job}", "" if gone else left)


def _alive(drive: DriverSession, jobs: Sequence[str]) -> list[str] | None:
    """Those of its jobs that have not ended; None if their queue does not say."""
    known = drive.submissions.ask(jobs)
    return known if known is None else [job for job, queued in known.items() if queued.alive]
