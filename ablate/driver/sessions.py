"""What a driver leaves in its folder, `drives/<token>/`, for others to find it and what it started.

    lease/            held while the driver lives; who takes it takes over what it started
    driver.json       the study it drives, and its process
    driver-job.json   the number of its own job, where it is one (see `ablate.driver.detach`)
    stop              put there by who wants it to end, on any machine that shares the folder
    slot-N/           its workers (see `ablate.launch.local`)
    array-N/          its Slurm jobs (see `ablate.launch.slurm.arrays`)

A driver that ends in order takes the folder with it. Only its user may look inside, for scripts and
logs of jobs may hold what is nobody else's business. Nothing here imports torch.
"""

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from ablate.errors import UserError
from ablate.files import UNREADABLE, read_json, write_json
from ablate.launch.slurm.arrays import left_behind
from ablate.polling import within
from ablate.store.lease import PATIENCE, Lease, Process, Watch


@dataclass(frozen=True)
class Drive:
    """One run of `ablate run`, dead or alive: its folder, its study's name, its process."""

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
        """Its Slurm jobs without an answer, ended or not, by number or name: the keys of their
        steps. Its own job, which has none, is with them."""
        own = self.own_job
        return {**left_behind(self.folder), **({own: ()} if own else {})}

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


def begin(folder: Path, study: str) -> None:
    """Write down in `folder` that this process drives a study."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(folder / "driver.json", {"study": study, "process": asdict(Process.this())})


def asked_to_stop(folder: Path) -> bool:
    """Whether someone wants the driver whose folder this is to end."""
    return (folder / "stop").exists()


class TakenOverError(UserError):
    """Another driver took this one for dead, and goes on with what it started."""


class Tenure:
    """The drives that this process holds, of one study: its own, and those it has taken over.

    `spoken_for`: the keys of the steps that other drivers, of any study, have submitted jobs for.
    """

    def __init__(self, home: Path, study: str, watch: Watch) -> None:
        self.home, self.study, self.watch = home, study, watch
        self.spoken_for: set[str] = set()
        self._leases: dict[Path, Lease] = {}
        self._stack = contextlib.ExitStack()

    def hold(self, folder: Path) -> None:
        """Take a drive once its last owner is known to be dead; TakenOverError if another lives."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not within(PATIENCE + 5, lambda: self._take(folder), pause=1.0):
            raise TakenOverError("another driver goes on with the study; this one may end")

    def _take(self, folder: Path) -> bool:
        lease = self.watch.take(folder / "lease")
        if lease is not None:
            self._stack.callback(lease.release)
            self._leases[folder] = self._stack.enter_context(lease)
            begin(folder, self.study)
        return lease is not None

    def inherited(self) -> list[Path]:
        """Drives of the study with jobs whose driver is dead: they are held from now on.

        Looks anew at what others have, and removes what is of no use to anybody. Raises
        TakenOverError where another driver has taken what is held here.
        """
        if any(lease.lost for lease in self._leases.values()):
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
            elif not keys:
                sweep(drive)
            elif drive.study == self.study and self._take(drive.folder):
                taken.append(drive.folder)
        return taken

    def remove(self) -> None:
        """Remove the drives that are held, of which nothing is at work any more."""
        for folder in self._leases:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Let others have the drives."""
        self._stack.close()


def drives(home: Path, study: str | None = None) -> Iterator[Drive]:
    """Every driver that left a folder, of the study of that name (None: of all)."""
    for path in sorted((home / "drives").glob("*/driver.json")):
        with contextlib.suppress(*UNREADABLE):
            mine = read_json(path)
            if study in (None, mine["study"]):
                yield Drive(path.parent, mine["study"], Process(**mine["process"]))


def sweep(drive: Drive) -> None:
    """Remove what a dead driver left, if none of its workers and jobs may still need it."""
    if not drive.jobs() and all(worker.runs() is False for worker in drive.workers()):
        shutil.rmtree(drive.folder, ignore_errors=True)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM as an exception, so that what was begun is ended in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
