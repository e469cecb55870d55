"""Where chains run: in this process, in slots of this machine, or as jobs of a Slurm cluster.

What a chain came to is read from its outcome file and the store's records; submitit starts and
ends processes, its word on their state is a hint. Nothing here imports torch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ablate.config.infra import DRIVER, Infra, require_deepspeed
from ablate.errors import UserError, nearest
from ablate.launch.devices import cores, gpus
from ablate.launch.inline import Inline
from ablate.launch.local import Local
from ablate.launch.protocol import Backend
from ablate.launch.slurm.jobs import OnSlurm
from ablate.launch.slurm.sbatch import require_slurm
from ablate.store.record import threads
from ablate.worker.context import Place
from ablate.worker.run import EXECUTORS, Executors

BACKENDS = ("inline", "local", "slurm")


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
        _one_process(infra, _kinds(infra, executors))
        return Inline(home, place, executors)
    if name == "local":
        return _local(jobs, home, folder, place, infra, cards, executors)
    if name == "slurm":
        require_slurm()
        return OnSlurm(home, folder, place, jobs or infra.slurm.at_once, infra, executors)
    raise UserError(f"no backend '{name}'{nearest(name, BACKENDS)}")


def _kinds(infra: Infra, executors: Executors) -> list[str]:
    """The kinds of steps that may come: ours, and those that the study says something of."""
    return [kind for kind in dict.fromkeys((*executors, *infra.kinds)) if kind != DRIVER]


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
    asked = [infra.of(kind) for kind in _kinds(infra, executors)]
    processes = max(one.devices for one in asked)
    if max(one.nodes for one in asked) > 1:
        raise UserError("infra.nodes is above 1, but the backend local is one; choose slurm")
    if any(one.by_deepspeed for one in asked):
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
