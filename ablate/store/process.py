"""A process that can be told from all others, on any machine, also after it ended."""

import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """What tells this machine, since it booted, and its process numbers from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def born(pid: int) -> str | None:
    """When process `pid` started, in the kernel's ticks; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if not fields or fields[0] in "ZX" else fields[19]  # none as it vanishes


JOB = "ABLATE_JOB"
"""The variable by which a launcher tells the processes of a job which one it is."""


@dataclass(frozen=True)
class Process:
    """A process of some machine, told apart from a later one of the same number.

    `job`: the job of a launcher that it is of, as its queue numbers it; `""` if it is of none.
    """

    host: str
    machine: str
    pid: int
    born: str | None
    job: str = ""

    @classmethod
    def this(cls) -> "Process":
        """The process that asks."""
        return cls(
            socket.gethostname(), machine(), os.getpid(), born(os.getpid()), os.environ.get(JOB, "")
        )

    @property
    def near(self) -> bool:
        """Whether it belongs to this machine, so that we can tell if it runs."""
        return self.machine == machine()

    def runs(self) -> bool | None:
        """Whether it is alive; None where that cannot be told from here."""
        return born(self.pid) == self.born if self.near and self.born else None

    def end(self, number: int) -> bool:
        """Send it a signal if it runs here; SIGKILL goes to its group. Whether it was there."""
        if not self.runs():
            return False
        with contextlib.suppress(ProcessLookupError):
            kill = os.killpg if number == signal.SIGKILL else os.kill
            kill(self.pid, number)
            return True
        return False
