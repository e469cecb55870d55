"""Where chains run: in this process, in slots of this machine, or as jobs of a Slurm cluster.

What a chain came to is read from its outcome file and the store's records; submitit starts and
ends processes, its word on their state is a hint. Nothing here imports torch.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from ablate.config.infra import Infra, require_deepspeed
from ablate.errors import UserError, nearest
from ablate.launch.local import Local
from ablate.launch.slurm.jobs import OnSlurm
from ablate.launch.slurm.sbatch import require_slurm
from ablate.store.record import threads
from ablate.store.steps import Step
from ablate.worker.run import EXECUTORS, Executors, Outcome, Place, run_chain

BACKENDS = ("inline", "local", "slurm")


class Job(Protocol):
    """A chain that was started."""

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""


class Backend(Protocol):
    """Starts chains, `slots` of them at a time (a number that may change), and is asked every
    `pause` seconds how they are.

    `notice`: what its user should know now, beyond how chains end; `""`: nothing.
    """

    pause: float
    notice: str

    @property
    def slots(self) -> int:
        """How many chains may run now, those that run among them."""

    def start(self, chains: Sequence[Sequence[Step]]) -> Sequence[Job | None]:
        """A job for each of the chains, of which all together no more than `slots` may run; None
        for one that cannot be started now. The steps of a chain agree in `Infra.place`. Called at
        each turn of the driver, also without a chain."""

    def adopt(self, drive: Path) -> Mapping[str, Job]:
        """Take over the jobs of a drive whose driver is dead; by the keys of their steps."""

    def close(self) -> bool:
        """End whatever runs and clean up; whether all of it has ended."""


def open_backend(
    name: str,
    jobs: int | None,
    home: Path,
    folder: Path,
    infra: Infra,
    executors: Executors = EXECUTORS,
) -> Backend:
    """The backend `name`, running `jobs` chains at once (default: what the machine bears, or
    `infra.slurm.at_once`).

    `folder` is the driver's own, for mailboxes and job logs. Raises UserError for an unknown name,
    and for what the machine lacks.
    """
    cards = gpus()
    device = ("cuda" if cards else "cpu") if infra.device == "auto" else infra.device
    place = Place(device, infra.for_steps(), folder.name)
    if device == "cuda" and not cards and name != "slurm":
        raise UserError("infra.device is cuda, but there is no GPU here; choose auto or cpu")
    if name == "inline":
        _one_process(infra, executors)
        return Inline(home, place, executors)
    if name == "local":
        return _local(jobs, home, folder, place, infra, cards, executors)
    if name == "slurm":
        require_slurm()
        return OnSlurm(home, folder, place, jobs or infra.slurm.at_once, infra, executors)
    raise UserError(f"no backend '{name}'{nearest(name, BACKENDS)}")


def _one_process(infra: Infra, kinds: Iterable[str]) -> None:
    for kind in kinds:
        one = infra.of(kind)
        if one.processes > 1:
            raise UserError(
                f"{kind} asks for {one.devices} processes on each of {one.nodes} nodes, but the "
                "backend inline is one process; choose local or slurm"
            )


def _local(
    jobs: int | None,
    home: Path,
    folder: Path,
    place: Place,
    infra: Infra,
    cards: Sequence[str],
    executors: Executors,
) -> Local:
    """Slots that share the machine, each with the GPUs its largest steps ask for, or on CPUs."""
    processes = max(infra.of(kind).devices for kind in executors)
    if max(infra.of(kind).nodes for kind in executors) > 1:
        raise UserError("infra.nodes is above 1, but the backend local is one; choose slurm")
    if any(infra.of(kind).by_deepspeed for kind in executors):
        require_deepspeed()
    if place.device == "cuda" and processes > len(cards):
        raise UserError(f"infra.devices is {processes}, but there are {len(cards)} GPUs here")
    on_cpu = place.device == "cpu"
    starts = range(0, len(cards) - processes + 1, processes)
    groups = [""] if on_cpu else [",".join(cards[n : n + processes]) for n in starts]
    slots = jobs or (max(1, min(cores(), 4) // processes) if on_cpu else len(groups))
    share = threads() or max(1, cores() // (slots * processes))
    shared = [groups[n % len(groups)] for n in range(slots)]
    return Local(home, folder, place, shared, processes, share, executors)


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [card for card in named.split(",") if card and card != "-1"]
    devices = Path("/dev").glob("nvidia*")
    return sorted(card.name[6:] for card in devices if card.name[6:].isdecimal())


class Here:
    """A chain that is done in this process, when it is first asked for."""

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self.run = run

    def poll(self) -> Outcome:
        return self.run()


class Inline:
    """Chains in this process, one after the other."""

    slots = 1
    pause = 0.1  # it waits only for what another driver has at hand
    notice = ""

    def __init__(self, home: Path, place: Place, executors: Executors) -> None:
        self.home, self.place, self.executors = home, place, executors

    def start(self, chains: Sequence[Sequence[Step]]) -> Sequence[Here]:
        more = (self.place, self.executors)
        return [Here(partial(run_chain, self.home, chain, *more)) for chain in chains]

    def adopt(self, drive: Path) -> Mapping[str, Job]:
        return {}

    def close(self) -> bool:
        return True
