"""The report that was made before: what of it is still right stays, and is not made again."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ablate.files import UNREADABLE, read_json, sha256_file, sha256_json

PAGES = "pages.json"
"""Beside the pages: the hash of all that the report is `made_of`; by name that of what a page is
made of, and of the page; and that of each of the `files`."""


class ReportFiles:
    """Writes a report's files into `folder`, which is new.

    A file that is the same in the report made `before` is that very file, times included. A page
    made of the same is not even made, unless it is gone there or was edited.
    """

    def __init__(self, folder: Path, before: Path) -> None:
        self.folder, self.before = folder, before
        self._made: dict[str, list[str]] = {}
        self._files: dict[str, str] = {}
        self._known: Mapping[str, list[str]] = _noted(before).get("pages", {})

    def page(self, name: str, made_of: Any, make: Callable[[], Iterable[str]]) -> None:
        """A page, by what it is made of as JSON; this package's sources count with it."""
        inputs = sha256_json([_sources(), made_of])
        content = self._kept(name, inputs) or encoded(make())
        self.put(name, content)
        self._made[name] = [inputs, _sha256(content)]

    def put(self, name: str, content: bytes) -> None:
        """A file with this content; the first of a name counts."""
        if name in self._files:
            return
        self._files[name] = _sha256(content)
        path, old = self.folder / name, self.before / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if _content(old) == content:
            take_over(old, path)
        else:
            path.write_bytes(content)

    def write(self, name: str, parts: Iterable[str]) -> None:
        """A large file, part by part, so that it is never in memory as a whole."""
        path, old = self.folder / name, self.before / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = hashlib.sha256()
        with path.open("wb") as file:
            for part in parts:
                content = part.encode("utf-8", "replace")
                made.update(content)
                file.write(content)
        self._files[name] = made.hexdigest()
        if old.is_file() and not old.is_symlink() and sha256_file(old) == self._files[name]:
            path.unlink()
            take_over(old, path)

    def close(self, made_of: str) -> None:
        """Note what the report and its pages were made of, for the next one."""
        paths = _files(self.folder)  # images, too, which are not put here one by one
        files = {name: self._files.get(name) or sha256_file(path) for name, path in paths.items()}
        self.put(PAGES, _note({"made_of": made_of, "pages": self._made, "files": files}))

    def _kept(self, name: str, inputs: str) -> bytes | None:
        """The page before, if it was made of the same and is still what was made."""
        if name not in self._known or self._known[name][0] != inputs:
            return None
        content = _content(self.before / name)
        same = content is not None and _sha256(content) == self._known[name][1]
        return content if same else None


def is_whole(folder: Path, made_of: str) -> bool:
    """Whether the report in `folder` is made of this, and each of its files what was made."""
    noted = _noted(folder)
    if noted.get("made_of") != made_of or _content(folder / PAGES) != _note(noted):
        return False
    paths = _files(folder)
    del paths[PAGES]
    known = noted["files"]
    return paths.keys() == known.keys() and all(
        not path.is_symlink() and sha256_file(path) == known[name] for name, path in paths.items()
    )


def noted_as(folder: Path) -> str | None:
    """What the report in `folder` says it is made of."""
    return _noted(folder).get("made_of")


def _noted(folder: Path) -> dict[str, Any]:
    """What a report notes of itself; nothing where that is damaged, or of an older version."""
    try:
        noted = dict(read_json(folder / PAGES))
    except UNREADABLE:
        return {}
    return noted if noted.keys() == {"made_of", "pages", "files"} else {}


def _note(noted: Mapping[str, Any]) -> bytes:
    return encoded([json.dumps(noted, indent=1, sort_keys=True), "\n"])


def _files(folder: Path) -> dict[str, Path]:
    """The files in a report by name, hidden ones and links, too."""
    return {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()
    }


def encoded(parts: Iterable[str]) -> bytes:
    """Text as a file of the report holds it: a lone surrogate is no text."""
    return b"".join(part.encode("utf-8", "replace") for part in parts)


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
