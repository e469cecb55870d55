"""What a driver leaves in its folder: for others to find it, and what it started."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ablate.files import UNREADABLE, read_json
from ablate.home import Home
from ablate.launch.launcher import Launcher
from ablate.launch.protocol import Submissions
from ablate.launch.registry import of_drive
from ablate.store.process import Process


@dataclass(frozen=True)
class DriverSession:
    """One run of `ablate run`, dead or alive: its folder, its study's id, its process, its backend
    (None: not known)."""

    folder: Path
    study: str
    driver: Process
    backend: str | None = None

    @property
    def leases(self) -> Path:
        """Its lease (see `ablate.store.lease`)."""
        return self.folder / "lease"

    @cached_property
    def launcher(self) -> Launcher:
        """What runs its chains."""
        return of_drive(self.folder, self.backend)

    @cached_property
    def submissions(self) -> Submissions:
        """Its jobs, and the queue that they are in."""
        return self.launcher.submissions(self.folder)

    def workers(self) -> Sequence[Process]:
        """The workers that it began, whether or not they still run."""
        return self.launcher.workers(self.folder)

    @property
    def own_job(self) -> str | None:
        """The number of the job that the driver itself is, or None."""
        with contextlib.suppress(*UNREADABLE):
            return str(read_json(self.folder / "driver-job.json"))
        return None

    @property
    def log(self) -> str:
        """Where its own job prints; `""` where it is none."""
        own_job = self.own_job
        return (
            str(self.launcher.driver_log(logs_of(self.folder, self.study), own_job))
            if own_job
            else ""
        )

    def jobs(self) -> dict[str, Sequence[str]]:
        """Its jobs, ended or not, by number or name: the keys of the steps of those that have not
        answered. Its own job, which has none, is with them."""
        own_job = self.own_job
        return {**self.submissions.submitted(), **({own_job: ()} if own_job else {})}

    def keys(self) -> set[str]:
        """The keys of the steps of its jobs that have not answered."""
        return {key for keys in self.submissions.submitted().values() for key in keys}

    def stop(self) -> None:
        """Ask the driver to end, which sees it at its next look at the store, wherever it runs."""
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            (self.folder / "stop").touch()


def logs_of(folder: Path, study: str) -> Path:
    """Where the driver of the study prints that has this folder, if it is a job."""
    return Home(folder.parents[1]).studies / study / "drivers" / folder.name


def drives(home: Path, study: str | None = None) -> Iterator[DriverSession]:
    """Every driver that left a folder, of the study of that id (None: of all)."""
    for path in sorted(Home(home).drives.glob("*/driver.json")):
        with contextlib.suppress(*UNREADABLE):
            mine = read_json(path)
            if study in (None, mine["study"]):
                process = Process(**mine["process"])
                yield DriverSession(path.parent, mine["study"], process, mine.get("backend"))
