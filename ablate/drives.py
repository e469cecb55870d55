"""What a driver leaves in its folder, `drives/<token>/`, for others to find it and what it started.

    driver.json       the study it drives, and its process
    stop              put there by who wants it to end, on any machine that shares the folder
    slot-N/           its workers (see `ablate.slots`)
    array-N/          its Slurm jobs (see `ablate.arrays`)

A driver that ends in order takes the folder with it. Nothing here imports torch.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ablate.arrays import left_behind
from ablate.files import read_json, write_json
from ablate.lease import Process


@dataclass(frozen=True)
class Drive:
    """One run of `ablate run`, dead or alive: its folder, its study's name, its process."""

    folder: Path
    study: str
    driver: Process

    def workers(self) -> list[Process]:
        """The workers that it began, whether or not they still run."""
        found = []
        for path in sorted(self.folder.glob("slot-*/worker.json")):
            with contextlib.suppress(OSError, ValueError):
                found.append(Process(**read_json(path)))
        return found

    def jobs(self) -> list[str]:
        """The numbers of its Slurm jobs, ended or not."""
        return left_behind(self.folder)

    def stop(self) -> None:
        """Ask the driver to end, which sees it at its next look at the store, wherever it runs."""
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            (self.folder / "stop").touch()


def begin(folder: Path, study: str) -> None:
    """Write down in `folder` that this process drives a study."""
    write_json(folder / "driver.json", {"study": study, "process": asdict(Process.this())})


def asked_to_stop(folder: Path) -> bool:
    """Whether someone wants the driver whose folder this is to end."""
    return (folder / "stop").exists()


def drives(home: Path, study: str | None = None) -> Iterator[Drive]:
    """Every driver that left a folder, of the study of that name (None: of all)."""
    for path in sorted((home / "drives").glob("*/driver.json")):
        with contextlib.suppress(OSError, ValueError):
            mine = read_json(path)
            if study in (None, mine["study"]):
                yield Drive(path.parent, mine["study"], Process(**mine["process"]))


def sweep(home: Path) -> None:
    """Remove what drivers of this machine left that were killed, once their workers ended too."""
    for drive in drives(home):
        alive = any(one.runs() is not False for one in (drive.driver, *drive.workers()))
        if not alive and not drive.jobs():
            shutil.rmtree(drive.folder, ignore_errors=True)
