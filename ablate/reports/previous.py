"""The report that was made before: what of it is still right stays, and is not made again."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ablate.files import UNREADABLE, read_json, sha256_json

PAGES = "pages.json"
"""Beside the pages: by name the hash of what a page is made of, and that of the page."""


class ReportFiles:
    """Writes a report's files into `folder`, which is new.

    A file that is the same in the report made `before` is that very file, times included. A page
    made of the same is not even made, unless it is gone there or was edited.
    """

    def __init__(self, folder: Path, before: Path) -> None:
        self.folder, self.before = folder, before
        self._made: dict[str, list[str]] = {}
        try:
            self._known = dict(read_json(before / PAGES))
        except UNREADABLE:
            self._known = {}

    def page(self, name: str, made_of: Any, make: Callable[[], Iterable[str]]) -> None:
        """A page, by what it is made of as JSON; this package's sources count with it."""
        inputs = sha256_json([_sources(), made_of])
        content = self._kept(name, inputs) or encoded(make())
        self.put(name, content)
        self._made[name] = [inputs, _sha256(content)]

    def put(self, name: str, content: bytes) -> None:
        """A file with this content."""
        path, old = self.folder / name, self.before / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if _content(old) == content:
            take_over(old, path)
        else:
            path.write_bytes(content)

    def close(self) -> None:
        """Note what the pages were made of, for the next report."""
        self.put(PAGES, encoded([json.dumps(self._made, indent=1, sort_keys=True), "\n"]))

    def _kept(self, name: str, inputs: str) -> bytes | None:
        """The page before, if it was made of the same and is still what was made."""
        if name not in self._known or self._known[name][0] != inputs:
            return None
        content = _content(self.before / name)
        same = content is not None and _sha256(content) == self._known[name][1]
        return content if same else None


def encoded(parts: Iterable[str]) -> bytes:
    """Text as a file of the report holds it: a lone surrogate is no text."""
    return "".join(parts).encode("utf-8", "replace")


def take_over(old: Path, path: Path) -> None:
    """Let `path` be the file `old`, or a copy of it where a file has one name only."""
    try:
        os.link(old, path)
    except OSError:
        shutil.copy2(old, path)


def _content(path: Path) -> bytes | None:
    """What a file holds; None where there is none, or a link to another."""
    with suppress(OSError):
        return None if path.is_symlink() else path.read_bytes()
    return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _sources() -> str:
    """A hash of all that makes pages of values: templates, scripts, and the code around them."""
    root = Path(__file__).parent
    files = sorted([*root.glob("*.py"), *root.glob("*/*.*")])  # folders may be links
    return sha256_json([[path.name, _sha256(path.read_bytes())] for path in files])
