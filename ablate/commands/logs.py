"""`ablate logs`: what a step printed, found by the start of its key or of its name."""

import codecs
import os
import re
import sys
import time
from pathlib import Path
from typing import Literal

from ablate.commands.output import emit_json, note, on_terminal
from ablate.errors import UserError, nearest
from ablate.files import home
from ablate.home import Home
from ablate.humanize import duration, pace
from ablate.launch.drives import drives
from ablate.printable import printable
from ablate.store.lease import Holding, Watch
from ablate.store.states import State, state

QUIET = {
    "queued": "its job is in the queue, starts, or is at a step before it",
    "waiting": "nobody works on it now; waiting for the next attempt",
}
"""What is said of a step that prints nothing, by its state."""
STILL = 10.0
"""Seconds without a word of the step after which is said where it stands."""
LOOK = 0.5
"""Seconds between two looks; a file system may show them late, so nothing is taken as final."""


def show(given: str, follow: bool, as_json: bool, attempt: int | None = None) -> int:
    """Print a step's last attempt, or that of a number; with `follow`, go on until the step ends.

    The exit code: 1 if it was followed to a failure, else 0.
    """
    book = StepLogs(find(given))
    first = book.first(attempt)
    if follow:
        return _follow(book, first)
    pages = [page for page in book.pages(first) if attempt in (None, _number(page))]
    text = "".join(page.read_text(encoding="utf-8", errors="replace") for page in pages)
    if as_json:
        emit_json({"step": book.name, "paths": [str(page) for page in pages], "text": text})
    else:
        sys.stdout.write(_shown(text))
    return 0


def _shown(text: str) -> str:
    """What a step printed, which orders no terminal; elsewhere it is as it was printed."""
    return printable(text) if on_terminal(sys.stdout) else text


def _follow(book: "StepLogs", first: int) -> int:
    """Print what comes, attempt after attempt, wherever each runs; 1 if the step failed, else 0.

    At once, and after each while without a word, it says where the step stands.
    """
    watch, readers, before, standing, last = Watch(), dict[Path, Reader](), "", "", 0.0
    while True:
        state = book.state(watch)  # asked first, so that its last words are read after it
        if not standing:
            standing, last = _stand(book, state, watch), time.monotonic()
            note(f"--- {book.name}: {standing}")
            before = state
        for page in book.pages(first):
            if page not in readers:
                readers[page] = Reader(page)
                if len(readers) > 1:
                    note(f"--- {page.stem.replace('-', ' ')}")
            if more := readers[page].more():
                sys.stdout.write(_shown(more))
                last = time.monotonic()
        sys.stdout.flush()
        if state in ("done", "failed"):
            return int(state == "failed")
        if state != before and state in QUIET:
            note(f"--- {_stand(book, state, watch)}")
        elif time.monotonic() - last >= STILL and (now := _stand(book, state, watch)) != standing:
            note(f"--- {now}")
            standing, last = now, time.monotonic()
        before = state
        time.sleep(LOOK)


def _stand(book: "StepLogs", state: str, watch: Watch) -> str:
    """Where a step stands, in a few words: how far it is, how quick, how long still."""
    if state in QUIET:
        return f"{QUIET[state]} (Ctrl-C ends this)"
    now = book.holding(watch) if state == "running" else None
    if now is None:
        return state
    if not now.done or not now.total:
        return f"{state}, starting"
    parts = [state, f"{now.done:,} of {now.total:,}", now.note]
    if now.seconds:
        each_second = now.done / now.seconds
        left = duration(max(now.total - now.done, 0) / each_second)
        parts += [pace(each_second), f"about {left} left"]
    return ", ".join(filter(None, parts))


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
                new = file.read()
        except FileNotFoundError:  # its driver has ended, and taken the logs of its jobs along
            return ""
        self.at += len(new)
        return self.decoder.decode(new)


class StepLogs:
    """The logs of one step, of which a name is known: see `find`."""

    def __init__(self, name: str) -> None:
        self.home, self.key, self._name = Home(home()), _key(name), name

    @property
    def name(self) -> str:
        """`<stage>-<slug>-<12 of the key>`, the name of its folder; its key until it is begun."""
        if self._name == self.key:
            names = (name for name in _begun(self.home) if _key(name) == self.key)
            self._name = next(names, self.key)
        return self._name

    @property
    def folder(self) -> Path:
        """Where its attempts and jobs are kept."""
        return self.home.logs / self.name

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

    def state(self, watch: Watch) -> State | Literal["queued"]:
        """Where the step is; `queued`: a job that has not answered will come to it."""
        done, failed = (
            any((folder / "record.json").exists() for folder in self._places(part))
            for part in (self.home.store, self.home.failed)
        )
        now = state(done, self.holding(watch), failed)
        queued = now == "waiting" and self.key in _queued(self.home)
        return "queued" if queued else now

    def holding(self, watch: Watch) -> Holding | None:
        """Who works on the step, and how far that is."""
        held = (watch.held(folder) for folder in self._places(self.home.leases))
        return next(filter(None, held), None)

    def _places(self, part: Path) -> list[Path]:
        """Where the step may be in a part of the home, which keeps each kind of step apart."""
        dirname = self.name.partition("-")[2]
        return [part / kind / dirname for kind in _listed(part)] if dirname else []

    def _attempts(self) -> list[Path]:
        return sorted(self.folder.glob("attempt-*.log"), key=_number)


def find(given: str) -> str:
    """The name (`<stage>-<slug>-<12 of the key>`) of the one step that `given` begins.

    `given` is the start of a key, or `stage/name`, `stage name` or `name` in part. Of a step that
    no job has come to yet only the key is known, which is its name then. Raises UserError for none
    or several.
    """
    at = Home(home())
    begun = sorted(_begun(at))
    queued = sorted(_queued(at) - set(map(_key, begun)))
    if not begun and not queued:
        raise UserError(f"no step has printed anything yet below {home()}")
    word = given.replace("/", "-", 1).replace(" ", "-", 1)
    names = [*begun, *queued]
    exact = [name for name in names if name == word or _key(name).startswith(given[:12])]
    matching = exact or [name for name in begun if name.startswith(word) or given in name]
    if not matching:
        hint = nearest(word, begun) if begun else ""
        if queued:
            hint += "; those in the queue are found by their keys, which `ablate plan` shows"
        raise UserError(f"no step '{given}' has a log{hint}")
    if len(matching) > 1 and len({_key(name) for name in matching}) > 1:
        shown = ", ".join(matching[:6]) + (", ..." if len(matching) > 6 else "")
        raise UserError(f"'{given}' begins {len(matching)} steps: {shown}")
    return matching[0]


def _begun(home: Home) -> set[str]:
    """The names of steps that were begun, or failed without."""
    known = set(_listed(home.logs))
    keys = set(map(_key, known))
    for part in (home.leases, home.failed):
        for kind in _listed(part):
            mute = (name for name in _listed(part / kind) if _key(name) not in keys)
            known.update(f"{kind}-{name}" for name in mute)
    return known


def _queued(home: Home) -> set[str]:
    """The first 12 digits of the keys of steps in jobs that have not answered."""
    jobs = (keys for drive in drives(home.path) for keys in drive.jobs().values())
    return {key[:12] for keys in jobs for key in keys}


def _printed_by_jobs(key: str) -> list[Path]:
    """What the jobs of living drivers that have the step of this key printed themselves."""
    return [page for drive in drives(home()) for page in drive.submissions.logs(key)]


def _listed(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _key(name: str) -> str:
    return name.rpartition("-")[2]


def _number(page: Path) -> int:
    """The N of `attempt-N.log`; 0 of any other log."""
    matched = re.fullmatch(r"attempt-(\d+)", page.stem)
    return int(matched[1]) if matched else 0
