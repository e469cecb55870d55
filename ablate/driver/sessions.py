"""What a driver leaves in its folder, `drives/<token>/`, for others to find it and what it started.

    lease/            held while the driver lives; who takes it takes over what it started
    driver.json       the study it drives, its process, and the backend of what it starts
    driver-job.json   the number of its own job, where it is one (see `ablate.driver.detach`)
    stop              put there by who wants it to end, on any machine that shares the folder
    slot-N/, ...      its workers or jobs, as its launcher has them (see `ablate.launch`)

A driver that ends in order takes the folder with it. Only its user may look inside, for scripts and
logs of jobs may hold what is nobody else's business. Nothing here imports torch.
"""

import contextlib
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from ablate.errors import UserError
from ablate.files import UNREADABLE, read_json, write_json
from ablate.launch.drives import DriverSession, drives
from ablate.polling import wait_until
from ablate.store.lease import PATIENCE, Lease, Watch
from ablate.store.process import Process

ASK = 60.0
"""Seconds between two questions whether jobs that a dead driver left have ended."""


def begin(folder: Path, study: str, backend: str) -> None:
    """Write down in `folder` that this process drives a study; what was started there before stays
    with the backend that did it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(*UNREADABLE):
        backend = read_json(folder / "driver.json").get("backend", backend)
    mine = {"study": study, "process": asdict(Process.this()), "backend": backend}
    write_json(folder / "driver.json", mine)


def asked_to_stop(folder: Path) -> bool:
    """Whether someone wants the driver whose folder this is to end."""
    return (folder / "stop").exists()


class TakenOverError(UserError):
    """Another driver took this one for dead, and goes on with what it started."""


class SessionOwnership:
    """The drives that this process holds, of one study: its own, and those it has taken over.

    `spoken_for`: the keys of the steps that other drivers, of any study, have submitted jobs for.
    """

    def __init__(self, home: Path, study: str, watch: Watch, backend: str) -> None:
        self.home, self.study, self.watch, self.backend = home, study, watch, backend
        self.spoken_for: set[str] = set()
        self._leases: dict[Path, Lease] = {}
        self._asked: dict[Path, tuple[float, bool]] = {}
        self._stack = contextlib.ExitStack()

    def acquire(self, folder: Path) -> None:
        """Take a drive once its last owner is known to be dead; TakenOverError if another lives."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not wait_until(PATIENCE + 5, lambda: self._take(folder), pause=1.0):
            raise TakenOverError("another driver goes on with the study; this one may end")

    def _take(self, folder: Path) -> bool:
        lease = self.watch.take(folder / "lease")
        if lease is not None:
            self._stack.callback(lease.release)
            self._leases[folder] = self._stack.enter_context(lease)
            begin(folder, self.study, self.backend)
        return lease is not None

    def take_over_dead(self) -> list[Path]:
        """Drives of the study with jobs whose driver is dead: they are held from now on.

        Looks anew at what others have, and removes what is of no use to anybody. Raises
        TakenOverError where another driver has taken what is held here.
        """
        if any(lease.lost for lease in self._leases.values()):
            if not all((folder / "lease").is_dir() for folder in self._leases):
                raise UserError(
                    f"{self.home} was moved or removed while this ran: say the same again with "
                    "$ABLATE_HOME where it is now; what is finished is there"
                )
            raise TakenOverError(
                "another driver took this one for dead, and goes on with the study"
            )
        self.spoken_for, taken = set(), []
        for drive in drives(self.home):
            if drive.folder in self._leases:
                continue
            keys = drive.keys()
            if self.watch.held(drive.leases):
                self.spoken_for |= keys
            elif not keys and not self._lingers(drive):
                sweep(drive)
            elif drive.study == self.study:
                if self._take(drive.folder):
                    taken.append(drive.folder)
                else:  # another was first, and has its jobs
                    self.spoken_for |= keys
        return taken

    def _lingers(self, drive: DriverSession) -> bool:
        """Whether jobs of a dead driver, which have answered, may not have ended; their queue is
        asked for that now and then."""
        asked, lingers = self._asked.get(drive.folder, (-math.inf, True))
        if time.monotonic() - asked > ASK:
            jobs = list(drive.submissions.submitted())
            known = drive.submissions.ask(jobs) if jobs else {}
            lingers = known is None or any(job.alive for job in known.values())
            self._asked[drive.folder] = time.monotonic(), lingers
        return lingers

    def remove(self) -> None:
        """Remove the drives that are held, of which nothing is at work any more."""
        for folder in self._leases:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Let others have the drives."""
        self._stack.close()


def sweep(drive: DriverSession) -> None:
    """Remove what a dead driver left whose jobs have ended, if no worker may still need it, nor its
    own job, which waits in the queue."""
    if drive.own_job is None and all(worker.runs() is False for worker in drive.workers()):
        shutil.rmtree(drive.folder, ignore_errors=True)
