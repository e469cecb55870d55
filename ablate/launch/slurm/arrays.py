"""The job arrays that a drive has submitted, as its folder has them for whoever comes after.

array-N/array.json        the keys of each job's steps, and Slurm's number
array-N/I.outcome.json    what the job I came to
array-N/                  also submitit's scripts and pickles, and what the jobs printed
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.files import UNREADABLE, read_checked, with_checksum, write_json


@dataclass
class Array:
    """One submission: the keys of the steps of each job.

    Slurm knows it by its name, which is written down before it is submitted: a driver that is
    killed in between loses nothing. `number`: Slurm's own; None until sbatch has told it.
    """

    folder: Path
    chains: Sequence[Sequence[str]]
    number: str | None = None

    @property
    def name(self) -> str:
        """`ablate-<drive>-<N>`."""
        return f"ablate-{self.folder.parent.name}-{self.folder.name.partition('-')[2]}"

    def task(self, index: int) -> str:
        """What Slurm calls one of its jobs within the array; `""` where it is the only one."""
        return str(index) if len(self.chains) > 1 else ""

    def job(self, index: int) -> str:
        """The number of one of its jobs; the array's name where that is not known."""
        if self.number is None:
            return self.name
        return f"{self.number}_{index}" if len(self.chains) > 1 else self.number

    def answer(self, index: int) -> Path:
        """Where the job of this index leaves its outcome."""
        return self.folder / f"{index}.outcome.json"

    def logs(self, index: int, streams: Sequence[str] = ("out", "err")) -> list[Path]:
        """Where a job, or Slurm for it, wrote its standard output and error."""
        job = f"*_{index}_0_log" if len(self.chains) > 1 else "*_0_log"
        return [path for stream in streams for path in self.folder.glob(f"{job}.{stream}")]

    def log(self, index: int) -> str:
        """The end of what a job, or Slurm for it, wrote to standard error."""
        paths = self.logs(index, ("err",))
        return "".join(path.read_text(errors="replace")[-4000:] for path in paths)

    def save(self) -> None:
        """Write it down; what lies in the folder is for the user alone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = {"chains": self.chains, "number": self.number}
        write_json(self.folder / "array.json", with_checksum(known))


def arrays(drive: Path) -> list[Array]:
    """The arrays of the drive whose folder this is, in the order they were submitted; of one that
    is not as it was written nobody knows, but the leases of its steps."""
    arrays = []
    for folder in (drive / f"array-{number}" for number in _numbers(drive)):
        with contextlib.suppress(*UNREADABLE):  # or another version's
            arrays.append(Array(folder, **(read_checked(folder / "array.json") or {})))
    return arrays


def new(drive: Path, chains: Sequence[Sequence[str]]) -> Array:
    """The next array of the drive, written down."""
    number = max(_numbers(drive), default=0) + 1
    array = Array(drive / f"array-{number}", chains)
    array.save()
    return array


def submitted(drive: Path) -> dict[str, Sequence[str]]:
    """All jobs of the drive whose folder this is, ended or not: the keys of the steps of those that
    have left no answer, none of the others."""
    left = left_behind(drive)
    return {array.job(n): () for array in arrays(drive) for n in range(len(array.chains))} | left


def left_behind(drive: Path) -> dict[str, Sequence[str]]:
    """The jobs of the drive whose folder this is that have left no answer, ended or not, and the
    keys of their steps."""
    return {
        array.job(n): chain
        for array in arrays(drive)
        for n, chain in enumerate(array.chains)
        if not array.answer(n).exists()
    }


def printed(drive: Path, key: str) -> list[Path]:
    """What its jobs printed themselves that have a step whose key begins so."""
    return [
        page
        for array in arrays(drive)
        for n, chain in enumerate(array.chains)
        if any(step_key.startswith(key) for step_key in chain)
        for page in array.logs(n)
    ]


def _numbers(drive: Path) -> list[int]:
    """The N of every `array-N`, in order."""
    names = (path.name.partition("-")[2] for path in drive.glob("array-*"))
    return sorted(int(name) for name in names if name.isdecimal())
