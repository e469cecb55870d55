"""Who drives a study, and which of its jobs wait in Slurm's queue, and why: hints for a view."""

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from ablate.lease import Watch
from ablate.squeue import Queued, ask

PATIENCE = 2.0
"""Seconds a single look waits for Slurm."""
PAUSE = 10.0
"""Seconds between two questions to Slurm."""


@dataclass(frozen=True)
class Waiting:
    """A job that has not begun, and the key of the step it begins with; `""` if not known."""

    job: Queued
    step: str


@dataclass(frozen=True)
class Work:
    """`drivers`: how many are not known to be dead; `waiting`: jobs that have not begun."""

    drivers: int = 0
    waiting: tuple[Waiting, ...] = ()


def at_hand(home: Path, study: str, watch: Watch, patience: float = PATIENCE) -> Work:
    """What is at hand for the study of that name; without the jobs where Slurm does not answer."""
    if not (home / "drives").is_dir():
        return Work()
    from ablate.drives import drives

    found = list(drives(home, study))
    alive = sum(watch.held(drive.leases) is not None for drive in found)
    steps = {job: keys for drive in found for job, keys in drive.jobs().items()}
    jobs = (ask(list(steps), patience) or {}).values()
    first = {job: keys[0] for job, keys in steps.items() if keys}
    waiting = (Waiting(job, first.get(job.number, "")) for job in jobs if job.waits)
    return Work(alive, tuple(waiting))


class Hints:
    """`work`, looked at again and again beside the view, which so never waits for Slurm.

    As a context manager it does so until the block ends; before, there is what one look saw.
    """

    def __init__(self, home: Path, study: str) -> None:
        self.home, self.study, self.watch = home, study, Watch()
        self.work = at_hand(home, study, self.watch)
        self._over = threading.Event()

    def __enter__(self) -> "Hints":
        threading.Thread(target=self._ask, daemon=True, name="squeue").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _ask(self) -> None:
        while not self._over.wait(PAUSE):
            with contextlib.suppress(OSError, ValueError):  # what is seen may vanish while we look
                self.work = at_hand(self.home, self.study, self.watch, patience=60.0)
