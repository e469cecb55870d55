"""A launcher: one way to run chains of steps, which `--backend` names. One folder each.

    class Here(Launcher):
        \"\"\"Chains in this process.\"\"\"

        def open(self, drive, jobs):
            return InProcess(drive)

That is enough for one that lives with its driver. One that has a queue of its own also says which
jobs of a drive are alive and cancels them (`submissions`), submits drivers, and probes. The first
line of the docstring is what `ablate list launchers` tells. The module must not import anything
heavy: `status` and `logs` load the launcher of the drives they find.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.launch.finding import Finding
from ablate.launch.protocol import Backend, Drive, Submissions
from ablate.parsing.validation import Fields
from ablate.store.process import Process

if TYPE_CHECKING:
    from ablate.config.provenance import Origins


@dataclass(frozen=True)
class Probe:
    """What a probe stands in for: jobs of these `kinds` of steps (none: of any), in this `infra`,
    of which `origins` knows where it is written. `note` tells what goes on meanwhile."""

    infra: Infra
    kinds: Sequence[str]
    origins: "Origins"
    note: Callable[[str], None]


class Launcher:
    """Runs chains; `name` is the word for it.

    `remote`: whether they run elsewhere, as jobs that wait in a queue and outlive their driver,
    with what the profile of a cluster says. `Options`: what `infra.NAME` may say (None: nothing).
    `more_memory`: what to change where the memory of its machines is not enough.
    """

    remote: ClassVar[bool] = False
    Options: ClassVar[type[Fields] | None] = None
    more_memory: ClassVar[str] = "set infra.num_workers lower, or choose a machine with more memory"

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, drive: Drive, jobs: int | None) -> Backend:
        """What runs chains of the drive, `jobs` of them at once (None: as many as it bears).

        Raises UserError for what is lacking here.
        """
        raise NotImplementedError

    def submissions(self, drive: Path) -> Submissions:
        """The jobs of the drive whose folder this is, the job that is its driver among them."""
        return Submissions()

    def workers(self, drive: Path) -> Sequence[Process]:
        """The processes that it began for a drive and that end by signals, alive or not."""
        return ()

    def requests(self, infra: Infra, kinds: Iterable[str], jobs: int | None) -> str:
        """What will be asked for, for such kinds of steps: `run --dry-run` shows it."""
        return ""

    def submit_driver(self, infra: Infra, drive: Path, logs: Path, call: Callable[[], Any]) -> str:
        """Submit a driver as a small job, which has the drive's folder and prints into `logs`; its
        number. `require` was called before. Raises UserError where it is refused."""
        raise UserError(f"--detach: the backend {self.name} has no queue for a driver")

    def driver_log(self, logs: Path, job: str) -> Path:
        """Where the driver prints that is this job."""
        return logs / f"{job}.out"

    def require(self) -> None:
        """Raises UserError unless what it needs is here."""

    def examine(self) -> Iterator[Finding]:
        """What `ablate doctor` says of it on any machine, quickly."""
        yield from ()

    def probe(self, asked: Probe) -> Iterator[Finding]:
        """What `ablate doctor --backend NAME` finds besides, as by a job that looks around."""
        yield from ()
