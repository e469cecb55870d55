"""A cluster in one process: workers on machines of their own, and one file server that is unkind.

Every call to the file system is a point at which another worker may go on, the caller may be
killed or stopped for a while, or the server may misbehave. All of it is drawn from a seed, so that
a schedule can be played again. Time is the cluster's own. What is modelled:

- a machine sees a folder's listing, and what is not in it, as of up to `lag` seconds ago; what it
  changes itself it sees at once, and files it opens as they are (NFS: close-to-open consistency);
- a request that is sent again because the answer got lost: done, yet answered with "exists
  already" or "not there";
- EIO and ESTALE, once in a while.
"""

import errno
import io
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ablate.store import artifacts as stores
from ablate.store import process as processes
from ablate.store.lease import BEAT, Lease
from ablate.store.process import Process
from ablate.worker import run as workers

TICK = 0.01
"""Seconds a call takes."""


class Killed(BaseException):
    """The process is no more: nothing it would still do happens."""


@dataclass(frozen=True)
class Chances:
    """How likely things go wrong, each at every call; `lag` and `stop` are seconds at most."""

    kill: float = 0.0
    stop: float = 0.0
    seconds: float = 0.0
    repeat: float = 0.0
    fail: float = 0.0
    lag: float = 0.0


@dataclass
class Machine:
    """One worker's machine: what it sees of the server, and the process that runs there."""

    name: str
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    wakes: float = 0.0
    beats: float = 0.0
    dead: bool = False
    ended: bool = False
    born: int = 0
    stopped: int = 0
    held: set[Lease] = field(default_factory=set)
    seen: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)


class Cluster:
    """Machines that share the folder `home`. `run` plays one schedule to its end."""

    def __init__(self, home: Path, seed: int, chances: Chances) -> None:
        self.home, self.chances = str(home), chances
        self.chance, self.now = random.Random(seed), 0.0
        self.machines: list[Machine] = []
        self.here: Machine | None = None
        self.quiet = False
        self.errors: list[BaseException] = []
        self.committed: list[str] = []
        self._threads: set[int] = set()

    def run(self, works: dict[str, Callable[[Machine], None]]) -> None:
        """Let a worker run on each machine; one that is killed begins anew a little later."""
        threads = []
        self.over = threading.Event()
        for name, work in works.items():
            machine = Machine(name)
            self.machines.append(machine)
            threads.append(threading.Thread(target=self._live, args=(machine, work), daemon=True))
        for thread in threads:
            thread.start()
        self._pass_on(None)
        assert self.over.wait(240), "the schedule came to no end"
        for error in self.errors:
            raise error

    def plays(self) -> bool:
        """Whether the calling thread is one of ours: what other tests have left is let be."""
        return threading.get_ident() in self._threads

    def _live(self, machine: Machine, work: Callable[[Machine], None]) -> None:
        self._threads.add(threading.get_ident())
        machine.turn.acquire()
        while not machine.ended and not self.errors:
            machine.dead, machine.born = False, machine.born + 1
            machine.held.clear()
            machine.seen.clear()
            try:
                work(machine)
                machine.ended = True
            except Killed:
                self.sleep(self.chance.uniform(0, 5), fresh=True)
            except BaseException as error:
                self.errors.append(error)
        machine.ended = True
        self._pass_on(None)

    def _pass_on(self, machine: Machine | None) -> None:
        """Give the turn to whoever is awake; time goes on to when somebody is."""
        alive = [one for one in self.machines if not one.ended]
        if not alive:
            self.over.set()
            return
        self.now += TICK
        ready = [one for one in alive if one.wakes <= self.now]
        if not ready:
            ready = [min(alive, key=lambda one: one.wakes)]
        self._let_beat(max(self.now, ready[0].wakes))
        following = self.chance.choice(ready)
        self.here = following
        if following is not machine:
            following.turn.release()
            if machine:
                machine.turn.acquire()

    def _let_beat(self, until: float) -> None:
        """What the thread of each living process does every two seconds, until that time."""
        while True:
            hearts = [one for one in self.machines if not (one.stopped or one.dead or one.ended)]
            following = min(hearts, key=lambda one: one.beats, default=None)
            if following is None or following.beats > until:
                self.now = max(self.now, until)
                return
            self.now = max(self.now, following.beats)
            following.beats = self.now + BEAT
            self.here, self.quiet = following, True
            for lease in following.held:
                lease.beat()
            self.quiet = False

    def sleep(self, seconds: float, fresh: bool = False) -> None:
        """The caller's machine waits."""
        machine = self.here
        assert machine
        if machine.dead and not fresh:
            raise Killed
        machine.wakes = self.now + seconds
        self._pass_on(machine)

    def call(self, path: Any, do: Callable[[], Any], answer: int = 0) -> Any:
        """One call to the server. `answer`: what it says when asked again for what it has done."""
        machine, chances, draw = self.here, self.chances, self.chance.random
        if machine is None or not self.plays() or not str(path).startswith(self.home):
            return do()
        if self.quiet:
            return self._serve(machine, str(path), do, answer)
        if machine.dead:
            raise Killed
        self._pass_on(machine)
        if draw() < chances.kill:
            machine.dead = True
            raise Killed
        if draw() < chances.stop:
            machine.stopped += 1
            self.sleep(self.chance.uniform(0, chances.seconds))
            machine.stopped -= 1
        if draw() < chances.fail:
            raise OSError(self.chance.choice([errno.EIO, errno.ESTALE]), "the server is away")
        return self._serve(machine, str(path), do, answer)

    def _serve(self, machine: Machine, path: str, do: Callable[[], Any], answer: int) -> Any:
        if not answer:
            self._look(machine, path)
            return do()
        self.walk(path)
        machine.seen.pop(path, None)
        done = do()
        if answer > 0 and not self.quiet and self.chance.random() < self.chances.repeat:
            raise OSError(answer, os.strerror(answer), path)
        return done

    def walk(self, path: Any) -> None:
        """The way to what is changed: walked as the machine sees it, its last folder anew."""
        machine, folder = self.here, str(path).rpartition("/")[0]
        if machine:
            self._look(machine, folder)
            machine.seen.pop(folder, None)

    def _look(self, machine: Machine, path: str) -> None:
        """ENOENT where the machine has a listing in which the path, or one above it, is not."""
        while path.startswith(f"{self.home}/"):
            folder, _, name = path.rpartition("/")
            when, names = machine.seen.get(folder, (-1e9, frozenset()))
            if self.now - when > self.chances.lag:
                try:
                    names = frozenset(_listdir(folder))
                except OSError:
                    names = frozenset()
                machine.seen[folder] = (self.now, names)
            if name not in names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            path = folder


_listdir, _scandir = os.listdir, os.scandir


@contextmanager
def unkind(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's calls, the clock, the heart and the identity of processes as the cluster's."""
    real: dict[str, Any] = {name: getattr(os, name) for name in ("open", "rename", "mkdir")}
    real |= {name: getattr(os, name) for name in ("unlink", "rmdir", "stat", "utime", "replace")}
    opened, removed = io.open, shutil.rmtree
    sleep, clock = time.sleep, time.monotonic
    exists, absent = errno.EEXIST, errno.ENOENT

    def reading(name: str) -> Callable[..., Any]:
        return lambda path, *more, **named: cluster.call(
            path, lambda: real[name](path, *more, **named)
        )

    def changing(name: str, answer: int) -> Callable[..., Any]:
        return lambda path, *more, **named: cluster.call(
            path, lambda: real[name](path, *more, **named), answer
        )

    def rename(path: Any, target: Any) -> None:
        def do() -> None:
            cluster.walk(target)
            real["rename"](path, target)
            if Path(target).parts[-3] == "store":
                cluster.committed.append(Path(target).name)

        cluster.call(path, do, absent)

    def open_(path: Any, flags: int, *more: Any, **named: Any) -> Any:
        answer = exists if flags & os.O_EXCL else 0
        if flags & os.O_CREAT:
            return cluster.call(
                path, lambda: real["open"](path, flags, *more, **named), answer or -1
            )
        return cluster.call(path, lambda: real["open"](path, flags, *more, **named))

    def scandir(path: Any) -> Any:
        def do() -> Any:
            seen = cluster.here.seen.get(str(path)) if cluster.here else None
            names = seen[1] if seen and cluster.now - seen[0] <= cluster.chances.lag else None
            return _Entries([one for one in _scandir(path) if names is None or one.name in names])

        return cluster.call(path, do)

    def io_open(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        answer = -1 if mode[0] in "wax" else 0
        return cluster.call(path, lambda: opened(path, mode, *more, **named), answer)

    def rmtree(path: Any, ignore_errors: bool = False) -> None:
        try:
            cluster.call(path, lambda: removed(path, ignore_errors), -1)
        except OSError:
            assert ignore_errors

    def process() -> Process:
        machine = cluster.here
        assert machine
        return Process(machine.name, f"{machine.name}/{machine.born}", machine.born, "1")

    with monkeypatch.context() as patch:
        for name, answer in {"mkdir": exists, "unlink": absent, "rmdir": absent}.items():
            patch.setattr(os, name, changing(name, answer))
        patch.setattr(os, "stat", reading("stat"))
        patch.setattr(os, "utime", reading("utime"))
        patch.setattr(os, "replace", changing("replace", -1))
        patch.setattr(os, "rename", rename)
        patch.setattr(os, "open", open_)
        patch.setattr(os, "scandir", scandir)
        patch.setattr(io, "open", io_open)
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(shutil, "rmtree", rmtree)
        patch.setattr(time, "sleep", lambda s: cluster.sleep(s) if cluster.plays() else sleep(s))
        patch.setattr(time, "monotonic", lambda: cluster.now if cluster.plays() else clock())
        patch.setattr(stores, "ThreadPoolExecutor", _InTurn)
        patch.setattr(workers, "redirect_output", lambda *_: nullcontext())
        patch.setattr(Process, "this", staticmethod(process))
        patch.setattr(processes, "machine", lambda: process().machine)
        patch.setattr(Lease, "__enter__", lambda lease: _hold(cluster, lease))
        patch.setattr(Lease, "__exit__", lambda lease, *_: cluster.here.held.discard(lease))
        yield


def _hold(cluster: Cluster, lease: Lease) -> Lease:
    assert cluster.here
    cluster.here.held.add(lease)
    return lease


class _Entries(list[Any]):
    """What `os.scandir` gives."""

    def __enter__(self) -> "_Entries":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def __next__(self) -> Any:
        if not self:
            raise StopIteration
        return self.pop(0)


class _InTurn:
    """A pool of threads that is none: a machine's calls come one after the other."""

    def __init__(self, size: int) -> None:
        self.map = map

    def __enter__(self) -> "_InTurn":
        return self

    def __exit__(self, *_: object) -> None:
        pass
