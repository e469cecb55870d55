"""The launcher `local`."""

from collections.abc import Sequence
from pathlib import Path

from ablate.config.infra import require_deepspeed
from ablate.errors import UserError
from ablate.launch.devices import cores, gpus
from ablate.launch.launcher import Launcher
from ablate.launch.protocol import Backend, Drive
from ablate.store.process import Process
from ablate.store.record import threads


class Local(Launcher):
    """Chains in processes of this machine, on its GPUs or cores."""

    more_memory = "run fewer steps at once (--jobs), or set infra.num_workers lower"

    def open(self, drive: Drive, jobs: int | None) -> Backend:
        """Slots that share the machine, each with the GPUs its largest steps ask for, or on CPUs.

        There are `jobs`; by default one a group of GPUs, on CPUs one a core up to four.
        """
        from ablate.launch.local.slots import Slots

        cards, asked = gpus(), drive.asked().values()
        processes = max(infra.devices for infra in asked)
        if max(infra.nodes for infra in asked) > 1:
            raise UserError("infra.nodes is above 1, but the backend local is one; choose another")
        if any(infra.by_deepspeed for infra in asked):
            require_deepspeed()
        on_cpu = drive.where.device == "cpu"
        if not on_cpu and processes > len(cards):
            raise UserError(f"infra.devices is {processes}, but there are {len(cards)} GPUs here")
        starts = range(0, len(cards) - processes + 1, processes)
        groups = [""] if on_cpu else [",".join(cards[n : n + processes]) for n in starts]
        slots = jobs or (max(1, min(cores(), 4) // processes) if on_cpu else len(groups))
        share = threads() or max(1, cores() // (slots * processes))
        return Slots(drive, [groups[n % len(groups)] for n in range(slots)], processes, share)

    def workers(self, drive: Path) -> Sequence[Process]:
        from ablate.launch.local.slots import workers

        return workers(drive)
