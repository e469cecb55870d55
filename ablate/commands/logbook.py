"""`ablate logs`: what a step printed, found by the start of its key or of its name."""

import codecs
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ablate.arrays import arrays
from ablate.commands.output import emit_json, note
from ablate.drives import drives
from ablate.errors import UserError, nearest
from ablate.files import home
from ablate.lease import Watch

LOOK = 0.5
"""Seconds between two looks; a file system may show them late, so nothing is taken as final."""


def show(given: str, follow: bool, as_json: bool, attempt: int | None = None) -> int:
    """Print a step's last attempt, or that of a number; with `follow`, go on until the step ends.

    The exit code: 1 if it was followed to a failure, else 0.
    """
    book = Book(find(given))
    first = book.first(attempt)
    if follow:
        return _follow(book, first)
    pages = [page for page in book.pages(first) if attempt in (None, _number(page))]
    text = "".join(page.read_text(encoding="utf-8", errors="replace") for page in pages)
    if as_json:
        emit_json({"step": book.name, "paths": [str(page) for page in pages], "text": text})
    else:
        sys.stdout.write(text)
    return 0


def _follow(book: "Book", first: int) -> int:
    """Print what comes, attempt after attempt, wherever each runs; 1 if the step failed, else 0."""
    watch, readers, idle = Watch(), dict[Path, Reader](), False
    while True:
        state = book.state(watch)  # asked first, so that its last words are read after it
        for page in book.pages(first):
            if page not in readers:
                readers[page] = Reader(page)
                if len(readers) > 1:
                    note(f"--- {page.stem.replace('-', ' ')}")
            sys.stdout.write(readers[page].more())
        sys.stdout.flush()
        if state in ("done", "failed"):
            return int(state == "failed")
        if state == "waiting" and not idle:
            note("--- nobody works on it now; waiting for the next attempt (Ctrl-C ends this)")
        idle = state == "waiting"
        time.sleep(LOOK)


class Reader:
    """Reads a file as it grows. Opens it anew each time: a network file system looks only then."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self) -> str:
        """What was written since the last time."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.at)
                found = file.read()
        except FileNotFoundError:  # its driver has ended, and taken the logs of its jobs along
            return ""
        self.at += len(found)
        return self.decoder.decode(found)


class Book:
    """The logs of one step. `name`: `<kind>-<slug>-<12 of the key>`, the name of its folder."""

    def __init__(self, name: str) -> None:
        self.name, self.home = name, home()
        self.folder = self.home / "logs" / name

    def first(self, attempt: int | None) -> int:
        """The number to begin at: of that attempt, or of the last. UserError if it has none."""
        numbers = [_number(page) for page in self._attempts()]
        if attempt is not None and attempt not in numbers:
            known = f"; it has {', '.join(map(str, numbers))}" if numbers else ""
            raise UserError(f"{self.name} has no attempt {attempt}{known}")
        return attempt or max(numbers, default=1)

    def pages(self, first: int) -> list[Path]:
        """The logs of the attempts from that number on; before there are any, those of its jobs.

        What a job printed before the step began, or instead: a broken line of its set-up, say.
        """
        attempts = [page for page in self._attempts() if _number(page) >= first]
        ahead = self.folder / f"attempt-{1 + max(map(_number, attempts), default=0)}.log"
        if ahead.exists():  # it may be there though the listing of the folder does not show it yet
            attempts.append(ahead)
        return attempts or [*sorted(self.folder.glob("job-*.log")), *_printed_by_jobs(self.key)]

    def state(self, watch: Watch) -> Literal["done", "running", "failed", "waiting"]:
        """Where the step is."""
        kind, _, dirname = self.name.partition("-")
        if (self.home / "store" / kind / dirname / "record.json").exists():
            return "done"
        if watch.held(self.home / "leases" / kind / dirname):
            return "running"
        failed = (self.home / "failed" / kind / dirname / "record.json").exists()
        return "failed" if failed else "waiting"

    @property
    def key(self) -> str:
        """The first 12 digits of the step's key."""
        return _key(self.name)

    def _attempts(self) -> list[Path]:
        return sorted(self.folder.glob("attempt-*.log"), key=_number)


def find(given: str) -> str:
    """The name (`<kind>-<slug>-<12 of the key>`) of the one step that `given` begins.

    `given` is the start of a key, or `kind/name`, `kind name` or `name` in part. Raises UserError
    for none or several.
    """
    names = sorted(_names(home()))
    if not names:
        raise UserError(f"no step has printed anything yet below {home()}")
    word = given.replace("/", "-", 1).replace(" ", "-", 1)
    exact = [one for one in names if one == word or _key(one).startswith(given[:12])]
    found = exact or [one for one in names if one.startswith(word) or given in one]
    if not found:
        raise UserError(f"no step '{given}' has a log{nearest(word, names)}")
    if len(found) > 1 and len({_key(one) for one in found}) > 1:
        shown = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
        raise UserError(f"'{given}' begins {len(found)} steps: {shown}")
    return found[0]


def _names(home: Path) -> Iterator[str]:
    """The names of steps that were begun, or failed without; `job-<key>` of those in a queue."""
    known = set(_listed(home / "logs"))
    for part in ("leases", "failed"):
        for kind in _listed(home / part):
            known.update(f"{kind}-{name}" for name in _listed(home / part / kind))
    yield from known
    keys = {_key(name) for name in known}
    queued = (array.chains for drive in drives(home) for array in arrays(drive.folder))
    for key in {key[:12] for chains in queued for chain in chains for key in chain} - keys:
        yield f"job-{key}"


def _printed_by_jobs(key: str) -> list[Path]:
    """What the Slurm jobs of living drivers that have the step of this key printed themselves."""
    return [
        page
        for drive in drives(home())
        for array in arrays(drive.folder)
        for n, chain in enumerate(array.chains)
        if any(one.startswith(key) for one in chain)
        for page in array.logs(n)
    ]


def _listed(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _key(name: str) -> str:
    return name.rpartition("-")[2]


def _number(page: Path) -> int:
    """The N of `attempt-N.log`; 0 of any other log."""
    found = re.fullmatch(r"attempt-(\d+)", page.stem)
    return int(found[1]) if found else 0
