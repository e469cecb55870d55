"""What was read of a store's files, kept from one command to the next for as long as they stay."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # reads ours in half the time that json takes

from ablate.errors import UserError
from ablate.files import UNREADABLE, atomic_file, retry_transient

_JSON = json.JSONEncoder(separators=(",", ":"))


class ReadCache:
    """JSON values by name, each with the signatures of the files that it was made of.

    A cache and no more: it is written whole, the last writer wins, and one that is damaged, or not
    `of` what is asked (the fields of a value, say), counts as empty. A line of its file is a value,
    so that it is never in memory as a whole; the first says what it is of, the last is a checksum.
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
        with suppress(OSError, UserError):  # full, read-only, in the way: it takes long again
            with atomic_file(self.path) as draft, draft.open("wb") as file:
                checksum = hashlib.sha256()
                for value in (self.of, *self._known.items()):
                    line = _JSON.encode(value).encode() + b"\n"
                    checksum.update(line)
                    file.write(line)
                file.write(checksum.hexdigest().encode())
            self._new = False

    @cached_property
    def _known(self) -> dict[str, Any]:
        """[what it was made of, the value] by name."""
        known: dict[str, Any] = {}
        checksum, before = hashlib.sha256(), b""
        try:
            with self.path.open("rb") as file:
                if from_json(before := next(file, b"")) != self.of:
                    return {}
                for line in file:
                    checksum.update(before)
                    before = line
                    if line.endswith(b"\n"):
                        name, value = from_json(line)
                        known[name] = value
            return known if before == checksum.hexdigest().encode() else {}
        except UNREADABLE:
            return {}


def signature(path: str) -> list[int]:
    """Bytes and times of change of a file: what it holds stays as long as these do."""
    return _times(retry_transient(functools.partial(os.stat, path)))


def _times(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def folder_signature(folder: str) -> str:
    """A hash of the path and the `signature` of each file in `folder` and below."""
    files = retry_transient(lambda: sorted(_signatures(folder, "")))
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _signatures(folder: str, within: str) -> Iterator[tuple[str, list[int]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _signatures(entry.path, f"{within}{entry.name}/")
            else:
                yield f"{within}{entry.name}", _times(entry.stat())
