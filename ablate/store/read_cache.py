"""What was read of a store's files, kept from one command to the next for as long as they stay."""

import functools
import gc
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # reads ours in half the time that json takes

from ablate.errors import UserError
from ablate.files import UNREADABLE, retry_transient, write_atomic


class ReadCache:
    """JSON values by name, each with the signatures of the files that it was made of.

    A cache and no more: it is written whole, the last writer wins, and one that is damaged, or not
    `of` what is asked (the fields of a value, say), counts as empty.
    """

    def __init__(self, path: Path, of: str) -> None:
        self.path, self.of = path, of
        self._new = False

    def get(self, name: str, made_of: Any, read: Callable[[], Any]) -> Any:
        """The value of this name; `read` anew unless it was made of the same."""
        known = self._known.get(name)
        if known is None or known[0] != made_of:
            known = self._known[name] = [made_of, read()]
            self._new = True
        return known[1]

    def keep(self) -> None:
        """Write down what is new, where that can be done."""
        if not self._new:
            return
        text = json.dumps({"of": self.of, "known": self._known}, separators=(",", ":"))
        with suppress(OSError, UserError):  # full, read-only, in the way: it takes long again
            write_atomic(self.path, f"{_checksum(text.encode())}\n{text}")
            self._new = False

    @cached_property
    def _known(self) -> dict[str, Any]:
        """[what it was made of, the value] by name."""
        try:
            checksum, _, text = self.path.read_bytes().partition(b"\n")
            stored = from_json(text) if checksum.decode() == _checksum(text) else {}
            return dict(stored["known"]) if stored["of"] == self.of else {}
        except UNREADABLE:
            return {}


@contextmanager
def without_gc() -> Iterator[None]:
    """For a command that reads: no search for garbage, not even at the end of the process. Of what
    a study has left there are many objects, and all are of use as long as it runs."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def signature(path: str) -> list[int]:
    """Bytes and times of change of a file: what it holds stays as long as these do."""
    stat = retry_transient(functools.partial(os.stat, path))
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def signatures(folder: str, within: str = "") -> list[list[Any]]:
    """Path (after `within`) and `signature` of each file in `folder` and below, in order."""
    listed: list[list[Any]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                listed += signatures(entry.path, f"{within}{entry.name}/")
            else:
                listed.append([f"{within}{entry.name}", *signature(entry.path)])
    return sorted(listed)


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
