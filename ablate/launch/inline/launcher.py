"""The launcher `inline`."""

from ablate.errors import UserError
from ablate.launch.launcher import Launcher
from ablate.launch.protocol import Backend, Drive


class Inline(Launcher):
    """Chains in this process, one after the other."""

    def open(self, drive: Drive, jobs: int | None) -> Backend:
        from ablate.launch.inline.chains import InProcess

        for kind, asked in drive.asked().items():
            if asked.processes > 1:
                raise UserError(
                    f"{kind} asks for {asked.devices} processes on each of {asked.nodes} nodes, "
                    "but the backend inline is one process; choose another"
                )
        return InProcess(drive)
