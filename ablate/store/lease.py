"""Leases: who is doing a step now, so that no two workers ever do the same one.

A lease is a folder of numbered files; the highest number holds. It is taken by creating the next
number, which one process alone can do on any file system (O_EXCL), and kept by rewriting that file
with a counter that rises. No clock of another machine is ever read: an owner on this machine lives
while its process does; one elsewhere, while its file changes as we watch.

A lease keeps work from being done twice, and no more: an owner taken for dead may wake up, and a
network file system may show a listing that is a minute old. That such an owner commits nothing is
the store's promise (`Store.begin`).
"""

import contextlib
import json
import os
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.files import MISSHAPEN, retry_transient
from ablate.store.process import Process

if TYPE_CHECKING:
    from pydantic import TypeAdapter

BEAT = 2.0
"""Seconds between two beats of a lease that is held."""
PATIENCE = 30.0
"""Seconds without a beat after which an owner on another machine counts as dead.

Only time in which we looked counts: where a file system hangs for all, nobody is taken for dead.
"""


class LeaseLostError(Exception):
    """Another worker took this one for dead and has the step now."""


@dataclass(frozen=True)
class Holding:
    """A lease seen from outside: its owner (None: unreadable now), and how far the step is."""

    number: int
    text: bytes
    owner: Process | None = None
    released: bool = False
    done: int = 0
    total: int = 0
    note: str = ""
    seconds: float = 0.0

    @property
    def beat(self) -> tuple[int, bytes]:
        """What changes for as long as its owner lives."""
        return self.number, self.text


@dataclass
class _Stillness:
    """A beat, when we last looked, and for how many seconds of looking it was the same."""

    beat: tuple[int, bytes]
    looked: float
    seconds: float = 0.0


class Watch:
    """Watches leases from one process, to tell the dead from the slow."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._still: dict[Path, _Stillness] = {}

    def held(self, folder: Path) -> Holding | None:
        """The lease in `folder` if a living owner holds it, else None."""
        holding = look(folder)
        return None if holding is None or self._free(folder, holding) else holding

    def silent(self, folder: Path) -> Holding | None:
        """The lease in `folder` if it was not given back, and its owner shows no life for as long
        as our patience lasts; also one on this machine, which may run and get nowhere."""
        holding = look(folder)
        if holding is None or holding.released or not self._still_too_long(folder, holding):
            return None
        return holding

    def take(self, folder: Path) -> "Lease | None":
        """The lease in `folder`, or None while another process holds it.

        For an owner on another machine this waits: for its next beat, or until it is dead.
        """
        before = first = look(folder)
        while before and first and not self._free(folder, before):
            if (before.owner and before.owner.near) or before.beat != first.beat:
                return None
            time.sleep(min(BEAT, self.patience))
            before = look(folder)
        number, spent = (before.number + 1, before.seconds) if before else (1, 0.0)
        lease = Lease(folder, number, spent)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(lease.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except (FileExistsError, FileNotFoundError):  # another was first, or has just finished
            return None
        try:
            os.write(handle, lease.text())
        except OSError:  # a full disk: an empty lease would be waited for
            lease.path.unlink()
            raise
        finally:
            os.close(handle)
        return lease

    def _free(self, folder: Path, holding: Holding) -> bool:
        """Whether its owner gave it back or is dead."""
        if holding.released:
            return True
        runs = holding.owner.runs() if holding.owner else None
        return self._still_too_long(folder, holding) if runs is None else not runs

    def _still_too_long(self, folder: Path, holding: Holding) -> bool:
        """Whether there was no beat for longer than our patience, as we watched."""
        now, still = time.monotonic(), self._still.get(folder)
        if still is None or still.beat != holding.beat:
            self._still[folder] = _Stillness(holding.beat, now)
            return False
        still.seconds += min(now - still.looked, BEAT)
        still.looked = now
        return still.seconds > self.patience


class Lease:
    """A lease this process holds; as a context manager it beats until the block ends.

    `seconds` counts the time spent on the step by all who held the lease so far; `token` is the
    name of a file that is only where this very owner works (see `Store.begin`).
    """

    def __init__(self, folder: Path, number: int, spent: float) -> None:
        self.folder, self.number, self.spent = folder, number, spent
        self.path = folder / f"{number}.json"
        self.owner, self.token = Process.this(), f".owner-{uuid.uuid4().hex}"
        self.done, self.total, self.note = 0, 0, ""
        self.lost = False
        self._beats, self._since = 0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent on the step, earlier attempts included."""
        return self.spent + time.monotonic() - self._since

    def text(self, *, released: bool = False) -> bytes:
        """What the lease's file holds, of one length so that it can be rewritten in place."""
        fields: dict[str, Any] = {"owner": asdict(self.owner), "released": released}
        fields |= {"done": self.done, "total": self.total, "note": self.note[:200]}
        fields |= {"beat": self._beats, "seconds": round(self.seconds, 3)}
        return json.dumps(fields).encode().ljust(2048)

    def held(self) -> bool:
        """Whether it is still ours: nobody took it for dead in the meantime."""
        holding = look(self.folder)
        return holding is not None and holding.number <= self.number  # a listing may be old

    def beat(self) -> None:
        """Show that the owner lives and how far it is; see whether it is still the owner."""
        self._beats += 1
        with contextlib.suppress(OSError):  # a full disk must not kill the one who frees it
            self._write()
        with contextlib.suppress(OSError):  # nor a file server that is away for a moment
            self.lost = self.lost or not self.held()

    def release(self) -> None:
        """Give it back; the next who takes it goes on where the work folder stands."""
        with contextlib.suppress(OSError):
            self._write(released=True)

    def __enter__(self) -> "Lease":
        with _BEATING:
            _held.add(self)
            if os.getpid() not in _hearts:  # a thread does not survive a fork
                threading.Thread(target=_beat, daemon=True, name="heartbeat").start()
                _hearts.add(os.getpid())
        return self

    def __exit__(self, *_: object) -> None:
        with _BEATING:
            _held.discard(self)

    def _write(self, *, released: bool = False) -> None:
        """In place: on a network file system others see a file's new content, not a new file."""
        handle = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(handle, self.text(released=released), 0)
        finally:
            os.close(handle)


_BEATING = threading.Lock()
_held: set[Lease] = set()
_hearts: set[int] = set()


def _beat() -> None:
    """The one thread of this process that keeps its leases."""
    while True:
        time.sleep(BEAT)
        with _BEATING:
            for lease in _held:
                lease.beat()


def look(folder: Path) -> Holding | None:
    """The lease in `folder` as it stands, or None if nobody ever took it."""
    try:
        names = (path.stem for path in folder.glob("*.json"))
        number = max((int(name) for name in names if name.isdecimal()), default=0)
        if not number:
            return None
        text = retry_transient((folder / f"{number}.json").read_bytes)
    except IsADirectoryError:
        text = b""
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        del fields["beat"]
        return _holding().validate_python({"number": number, "text": text, **fields})
    except MISSHAPEN:  # its owner is writing, or died in the middle
        return Holding(number, text)


@cache
def _holding() -> "TypeAdapter[Holding]":
    from pydantic import TypeAdapter  # dataclasses take it long to import; most looks see no lease

    return TypeAdapter(Holding)
