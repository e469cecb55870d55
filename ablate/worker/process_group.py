"""The processes of a job, one a device, as a team: task 0 leads, the others follow.

Each follower keeps one connection to its leader. Over it go the steps to execute and small values,
as lines of JSON; and its end tells each side, within moments, that the other is gone. No step
survives that, for collectives of those that are left would wait for ever: the leader leaves a last
word and ends, and its followers end with it. Nothing here imports torch.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ablate.errors import UserError
from ablate.files import read_json, write_json

WAIT = 300.0
"""Seconds in which all processes of a job must have come up."""
REFUSED = 5.0
"""Seconds after which a leader that refuses connections counts as gone."""
SILENCE = 30
"""Seconds without an answer after which the machine of the other side counts as gone."""
LOOPBACK = "127.0.0.1"
OnFailure = Callable[[tuple[str, str] | None, str], None]
"""Is given type and text of a follower's error (None: it died), and what happened in words."""


class IncompleteError(Exception):
    """Not all processes of the job came up."""


class Connection:
    """A connection to another process: values one way and the other, each `(kind, value)`.

    It is read by a thread of its own, so that `ended` is called as soon as the other side is gone.
    `heard` is given what is no plain value.
    """

    def __init__(
        self,
        connection: socket.socket,
        heard: Callable[[str, Any], None],
        ended: Callable[[], None],
    ) -> None:
        self._connection, self._heard, self._ended = connection, heard, ended
        self._values: SimpleQueue[Any] = SimpleQueue()
        os.register_at_fork(after_in_child=connection.close)  # data loaders must not keep it open
        threading.Thread(target=self._listen, daemon=True, name="line").start()

    def send(self, value: Any, kind: str = "value") -> None:
        """Send a JSON value."""
        self._connection.sendall(json.dumps([kind, value]).encode() + b"\n")

    def receive(self) -> Any:
        """The next value the other side sends."""
        return self._values.get()

    def cut(self) -> None:
        """End the connection, for both sides."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while chunk := self._connection.recv(2**20):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    kind, value = json.loads(line)
                    if kind != "value":
                        self._heard(kind, value)
                    self._values.put(value)
        self._ended()


@dataclass(frozen=True)
class StepRanks:
    """The processes that do a step together, `devices` of them on each of `nodes`, and our `rank`.

    `lines`: the leader's to each other rank, in their order; a follower's to the leader.
    """

    rank: int = 0
    devices: int = 1
    nodes: int = 1
    lines: tuple[Connection, ...] = ()

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.devices * self.nodes

    @property
    def local(self) -> int:
        """The number of this process on its node, and so of its GPU."""
        return self.rank % self.devices

    @property
    def leads(self) -> bool:
        """Whether this process is rank 0, which alone writes what there is one of."""
        return self.rank == 0

    def agree(self, value: Any = None) -> Any:
        """The leader's JSON value, on every rank."""
        if not self.leads:
            return self.lines[0].receive()
        for line in self.lines:
            line.send(value)
        return value

    def gather(self, value: Any = None) -> list[Any]:
        """The JSON values of all ranks, in their order, for the leader; `[]` for the others."""
        if self.leads:
            return [value, *(line.receive() for line in self.lines)]
        self.lines[0].send(value)
        return []

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """A block that the others run once the leader has: what it makes is there by then."""
        if not self.leads:
            self.agree()
        yield
        if self.leads:
            self.agree()


class ProcessGroup:
    """This process and the others of its job; by itself, a job of one process.

    The tasks are numbered node by node. Once a follower has failed or died, the leader's process
    ends, whatever it is at.
    """

    def __init__(self, task: int = 0, tasks: int = 1, nodes: int = 1) -> None:
        self.task, self.tasks, self.nodes = task, tasks, nodes
        self._last_word: OnFailure | None = None
        self._lines: dict[int, Connection] = {}
        self._over = False

    @classmethod
    def of_job(cls) -> "ProcessGroup":
        """The team of the submitit job that this process is a task of; it has yet to `meet`."""
        import submitit

        job = submitit.JobEnvironment()
        return cls(job.global_rank, job.num_tasks, job.num_nodes)

    @property
    def leads(self) -> bool:
        """Whether this is task 0."""
        return self.task == 0

    def meet(self, folder: Path) -> None:
        """Connect with the others, in a folder that all see.

        Raises IncompleteError where not all have come up after `WAIT` seconds.
        """
        if self.tasks > 1:
            meet = self._lead if self.leads else self._follow
            meet(folder)

    def world(self, devices: int, nodes: int) -> StepRanks | None:
        """The processes that do a step on `devices` of each of `nodes`; None if we do not.

        Raises UserError where the team is too small.
        """
        each = self.tasks // self.nodes
        if devices > each or nodes > self.nodes:
            raise UserError(
                f"the step asks for {devices} processes on each of {nodes} nodes, but its job has "
                f"{each} on {self.nodes}: a world of another size would be another batch"
            )
        node, local = divmod(self.task, each)
        if node >= nodes or local >= devices:
            return None
        tasks = [n * each + d for n in range(nodes) for d in range(devices)]
        lines = tuple(self._lines[task] for task in tasks if task in self._lines)
        return StepRanks(node * devices + local, devices, nodes, lines)

    @contextmanager
    def at_work(self, last_word: OnFailure) -> Iterator[None]:
        """While the block runs, and after an exception in it, `last_word` is called before the end
        that a follower brings."""
        self._last_word = last_word
        yield
        self._last_word = None

    def begin(self, turn: Any) -> None:
        """Send all followers a JSON value: what to do next."""
        for line in self._lines.values():
            line.send(turn)

    def turns(self) -> Iterator[Any]:
        """What the leader sends, until it is done."""
        while (turn := self._lines[0].receive()) is not None:
            yield turn

    def fail(self, error: tuple[str, str]) -> None:
        """Tell the leader of an error, type and text, and wait for the end, which it brings."""
        self._lines[0].send(error, "failed")
        threading.Event().wait()

    def close(self, *, in_order: bool) -> None:
        """Let the followers end: once they are done or, after a failure, whatever they are at."""
        self._over = True
        for line in self._lines.values():
            if not in_order:
                line.cut()
                continue
            with contextlib.suppress(OSError):  # it has died since
                line.send(None, "end")

    def listen(self) -> None:
        """Wait until a follower's end, which may be what our own error is of, would be noticed."""
        if self.tasks > 1:
            time.sleep(1.0)

    def _lead(self, folder: Path) -> None:
        """Wait for the followers."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # for the token
        near = self.nodes == 1
        deadline, token = time.monotonic() + WAIT, secrets.token_hex()
        with socket.create_server((LOOPBACK if near else "", 0)) as server:
            host = LOOPBACK if near else socket.gethostname()
            address = {"host": host, "port": server.getsockname()[1], "token": token}
            write_json(folder / "leader.json", address)
            while len(self._lines) < self.tasks - 1:
                server.settimeout(max(0.001, deadline - time.monotonic()))
                try:
                    self._welcome(server.accept()[0], token)
                except TimeoutError:
                    came = f"{len(self._lines) + 1} of the job's {self.tasks} processes"
                    raise IncompleteError(f"only {came} came up in {WAIT:.0f} s") from None

    def _welcome(self, connection: socket.socket, token: str) -> None:
        """Take a connection for a follower's if it knows the token."""
        connection.settimeout(10)
        try:
            given, task = connection.recv(200).decode().split()
            if not secrets.compare_digest(given, token):
                raise ValueError
            connection.sendall(b"welcome")
        except (OSError, ValueError):  # somebody else: whatever scans the ports of this machine
            connection.close()
            return
        number = int(task)

        def heard(kind: str, value: Any) -> None:
            self._lost(f"process {number} of {self.tasks} failed: {value[1]}", tuple(value))

        def ended() -> None:
            self._lost(f"process {number} of {self.tasks} died", None)

        self._lines[number] = Connection(_lasting(connection), heard, ended)

    def _lost(self, message: str, error: tuple[str, str] | None) -> None:
        """End this process, in the line's thread: our own may hang."""
        if not self._over:
            self._over = True
            print(message, file=sys.stderr, flush=True)
            if self._last_word:
                self._last_word(error, message)
            os._exit(1)

    def _follow(self, folder: Path) -> None:
        """Find the leader; where an earlier attempt of the job had its own may still be written."""
        deadline = time.monotonic() + WAIT
        tried: dict[str, float] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                leader = read_json(folder / "leader.json")
                since = tried.setdefault(leader["token"], time.monotonic())
                if time.monotonic() - since > REFUSED:
                    break
                connection = socket.create_connection((leader["host"], leader["port"]), 10)
                connection.sendall(f"{leader['token']} {self.task}".encode())
                if connection.recv(7) == b"welcome":
                    self._lines = {0: Connection(_lasting(connection), self._heard, self._ended)}
                    return
            time.sleep(0.05)
        raise IncompleteError(f"process {self.task} of {self.tasks} did not find its leader")

    def _heard(self, kind: str, value: Any) -> None:
        self._over = True

    def _ended(self) -> None:
        if not self._over:
            print("the leader of the job is gone", file=sys.stderr, flush=True)
            os._exit(1)


def _lasting(connection: socket.socket) -> socket.socket:
    """The connection without a limit of time, which asks now and then if the other side lives."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            connection.setsockopt(socket.IPPROTO_TCP, option, SILENCE // 3)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    return connection
