"""What a driver leaves in its folder: for others to find it, and what it started."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.files import UNREADABLE, read_json
from ablate.home import Home
from ablate.launch.slurm.arrays import left_behind, submitted
from ablate.store.process import Process


@dataclass(frozen=True)
class DriverSession:
    """One run of `ablate run`, dead or alive: its folder, its study's id, its process."""

    folder: Path
    study: str
    driver: Process

    @property
    def leases(self) -> Path:
        """Its lease (see `ablate.store.lease`)."""
        return self.folder / "lease"

    def workers(self) -> list[Process]:
        """The workers that it began, whether or not they still run."""
        found = []
        for path in sorted(self.folder.glob("slot-*/worker.json")):
            with contextlib.suppress(*UNREADABLE):
                found.append(Process(**read_json(path)))
        return found

    @property
    def own_job(self) -> str | None:
        """The number of the job that the driver itself is, or None."""
        with contextlib.suppress(*UNREADABLE):
            return str(read_json(self.folder / "driver-job.json"))
        return None

    @property
    def log(self) -> str:
        """Where its own job prints; `""` where it is none."""
        own = self.own_job
        return str(log_of(self.folder, self.study, own)) if own else ""

    def jobs(self) -> dict[str, Sequence[str]]:
        """Its Slurm jobs, ended or not, by number or name: the keys of the steps of those that have
        not answered. Its own job, which has none, is with them."""
        own = self.own_job
        return {**submitted(self.folder), **({own: ()} if own else {})}

    def keys(self) -> set[str]:
        """The keys of the steps of its Slurm jobs that have not answered."""
        return {key for keys in left_behind(self.folder).values() for key in keys}

    def stop(self) -> None:
        """Ask the driver to end, which sees it at its next look at the store, wherever it runs."""
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            (self.folder / "stop").touch()


def log_of(folder: Path, study: str, job: str) -> Path:
    """What the driver of the study prints that has this folder and is the job of this number."""
    logs = folder.parents[1] / "studies" / study / "drivers" / folder.name
    return logs / f"{job}_0_log.out"


def drives(home: Path, study: str | None = None) -> Iterator[DriverSession]:
    """Every driver that left a folder, of the study of that id (None: of all)."""
    for path in sorted(Home(home).drives.glob("*/driver.json")):
        with contextlib.suppress(*UNREADABLE):
            mine = read_json(path)
            if study in (None, mine["study"]):
                yield DriverSession(path.parent, mine["study"], Process(**mine["process"]))
