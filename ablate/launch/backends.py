"""Opens a launcher for a drive. Nothing here imports torch.

What a chain came to is read from its outcome file and the store's records; whoever starts and ends
processes for us, their word on a state is a hint.
"""

from pathlib import Path

from ablate.config.infra import Infra
from ablate.launch.devices import chosen_device
from ablate.launch.protocol import Backend, Drive
from ablate.launch.registry import launcher
from ablate.worker.context import RunContext
from ablate.worker.run import EXECUTORS, Executors


def open_backend(
    name: str,
    jobs: int | None,
    home: Path,
    folder: Path,
    infra: Infra,
    executors: Executors = EXECUTORS,
) -> Backend:
    """The backend `name`, running `jobs` chains at once (default: what it bears, or its options
    say).

    `folder` is the driver's own, for mailboxes and job logs. Raises UserError for an unknown name,
    and for what the machine lacks.
    """
    chosen = launcher(name)
    remote = chosen.remote and infra.device != "auto"
    device = infra.device if remote else chosen_device(infra.device)
    where = RunContext(device, infra.for_steps(), folder.name, more_memory=chosen.more_memory)
    return chosen.open(Drive(home, folder, where, infra, executors), jobs)
