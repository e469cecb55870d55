"""A private Slurm on loopback as a test sees it: its daemons, its queue, the processes of its jobs.

It is what `start-slurm.sh` sets up: nodes fake1 to fake3 of four CPUs and two fake GPUs, and the
partitions `main` and `scavenge`, of which the first preempts the second.
"""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TOYS, ROOT = HERE.parent / "toys", HERE.parents[1]
MACHINES = {"PYTHONPATH": os.pathsep.join(map(str, (HERE / "nodes", HERE, TOYS, ROOT)))}
"""An environment in which the nodes are machines of their own, with clocks that disagree."""
PORTS = 20
"""TCP ports in a row that a cluster needs at most."""


@dataclass(frozen=True)
class Job:
    """A job that has not ended, as the queue shows it."""

    number: str
    state: str
    node: str
    reason: str


class Loopback:
    """A cluster whose files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = str(folder / "etc" / "slurm.conf")
        self._settings = {"BASE_PORT": str(_free_ports()), "ACCT": "none", "GRACE": "3"}

    def start(self) -> None:
        """Start whatever of it does not run; nodes that were down come back."""
        self._script("start-slurm.sh")

    def stop(self) -> None:
        """End jobs and daemons."""
        self._script("stop-slurm.sh")

    def run(self, *command: str) -> bool:
        """Run one of Slurm's commands; whether it went well, for its daemon may be away."""
        return self._ask(*command).returncode == 0

    def end_time(self, job: str) -> bool:
        """Let the time of a job be over, and Slurm end it for that; whether it took note of it.

        Slurm looks for such jobs twice a minute. It wakes those that it ends: until then the job
        holds still, lest it come to its own end. Notice and limit arrive together.
        """
        over = self.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")
        return over and self.run("scancel", "--signal=STOP", job)

    def timed_out(self) -> set[str]:
        """The jobs that Slurm ended as their time was over."""
        found = self._ask("squeue", "--noheader", "--array", "--states=TIMEOUT", "--format=%i")
        return set(found.stdout.split())

    def queue(self) -> list[Job]:
        """The jobs that have not ended."""
        found = self._ask("squeue", "--noheader", "--array", "--format=%i|%T|%N|%r")
        return [Job(*line.split("|", 3)) for line in found.stdout.splitlines()]

    def drained(self) -> list[str]:
        """The nodes that take no more jobs."""
        found = self._ask("sinfo", "--noheader", "--Node", "--states=drain", "--format=%N")
        return sorted(set(found.stdout.split()))

    def daemon(self, name: str) -> int:
        """The process of a daemon: `slurmctld`, `slurmd-fake1`."""
        return int((self.folder / "run" / f"{name}.pid").read_text())

    def processes(self, variable: str, value: str) -> list[int]:
        """The processes begun for this cluster, by a job or a user, whose environment says so."""
        mine = {"SLURM_CONF": self.conf, variable: value}.items()
        pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if mine <= environment_of(pid).items()]

    def cut_power(self, node: str) -> None:
        """Kill every process of a node at once: its daemon, its jobs and who watches over them."""
        jobs = self.processes("SLURMD_NODENAME", node)
        watchers = {parent for pid in jobs if _name(parent := _parent(pid)) == "slurmstepd"}
        for pid in (self.daemon(f"slurmd-{node}"), *watchers, *jobs):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _ask(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """In ten seconds: scancel tries for a minute where a job cannot be altered now."""
        environment = {**os.environ, "SLURM_CONF": self.conf}
        within = ("timeout", "10", *command)
        return subprocess.run(within, env=environment, capture_output=True, text=True)

    def _script(self, name: str) -> None:
        environment = {"PATH": os.environ["PATH"], **self._settings}  # daemons are nobody's
        command = [str(HERE / name), str(self.folder)]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=120)


def environment_of(pid: int) -> Mapping[str, str]:
    """The variables a process was begun with; none if it has ended."""
    try:
        said = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in said.split("\0") if "=" in line)


def command_of(pid: int) -> str:
    """The command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def runs(pid: int) -> bool:
    """Whether a process is there, and was not made to hold still."""
    return _stat(pid)[0] not in "TXZ"


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """What Linux says of a process, from its state on; as of a dead one if it is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "0"]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _free_ports() -> int:
    """The first of PORTS ports in a row that nobody listens at, so that clusters do not collide.

    Those that start at the same time, each in a worker of pytest's, choose from other ranges.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lowest = 20000 + 1000 * (worker % 12)
    while True:
        first = random.SystemRandom().randrange(lowest, lowest + 1000 - PORTS)
        with ExitStack() as stack:
            try:
                for port in range(first, first + PORTS):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


def told(*command: str) -> list[str]:
    """The lines that a command of Slurm's prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()
