"""`ablate report --live`: the report on this machine's loopback address, made anew as steps finish.

Every user of a machine can reach its loopback address, so all that is served lies below a random
word, which only the one who started it is told.

Each report is built by a process of its own, into a folder of its own: what a build remembers and
how it may fail stays there, and a page that is being read is not taken away.
"""

import hashlib
import hmac
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from ablate.config.study import Study
from ablate.errors import UserError
from ablate.files import home

HOST = "127.0.0.1"
EVERY = 2.0  # seconds between two looks at the store
STALE = 60.0  # seconds after which a report is made anew that shows steps at work
State = list[tuple[str, int]]


class ServedFiles:
    """The report that is served now: its files by their address."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._lock = threading.Lock()

    def put(self, folder: Path) -> None:
        """Serve the files of this folder from now on, and no others."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}
        with self._lock:
            self._files = files | {"": files["index.html"]}

    def read(self, address: str) -> tuple[bytes, str] | None:
        """Content and type of what lies at an address, which is compared as it is: it is looked up,
        never followed as a path.
        """
        with self._lock:
            path = self._files.get(address.partition("?")[0].removeprefix("/"))
            return (path.read_bytes(), guess_type(path.name)[0] or "text/plain") if path else None


class Server(ThreadingHTTPServer):
    """Serves a shelf on the loopback address alone; port 0 takes a free one.

    Raises `UserError` where the port is taken.
    """

    daemon_threads = True

    def __init__(self, shelf: ServedFiles, port: int = 0) -> None:
        self.shelf, self.word = shelf, secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror}; leave it out for a free one"
            ) from None
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def address(self) -> str:
        """Where the first page is."""
        return f"http://{HOST}:{self.server_port}/{self.word}/"

    def knows(self, word: str) -> bool:
        """Whether it is the word of the address, told in the same time whatever it is."""
        return hmac.compare_digest(word.encode("utf-8", "replace"), self.word.encode())


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the shelf's files, for who asks this very server by its name and knows its
    word.

    A page of another site cannot read them: not by a name of its own that leads here, either.
    """

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ablate", ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if self.headers.get("Host") not in self.server.names:
            return self._send(HTTPStatus.FORBIDDEN, b"not served under this name\n", with_body)
        word, _, name = self.path.removeprefix("/").partition("/")
        file = self.server.shelf.read(f"/{name}") if self.server.knows(word) else None
        if file is None:
            return self._send(HTTPStatus.NOT_FOUND, b"not found\n", with_body)
        content, kind = file
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        if self.headers.get("If-None-Match") == tag:
            return self._send(HTTPStatus.NOT_MODIFIED, b"", False, tag)
        return self._send(HTTPStatus.OK, content, with_body, tag, kind)

    def _send(
        self,
        status: HTTPStatus,
        content: bytes,
        with_body: bool,
        tag: str = "",
        kind: str = "text/plain",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what a browser asks for is of no interest."""


class _Builds:
    """Reports of one study, one after the other, into two folders by turns."""

    def __init__(self, study: Study, scratch: Path, ended: threading.Event) -> None:
        self.study, self.scratch, self.ended = study, scratch, ended
        self.number = 0

    def next(self) -> Path:
        """The folder of a new report; the one before it is still there.

        Raises `UserError` with the reason if there is none, also where `ended` stopped it.
        """
        here, there = (self.scratch / str((self.number + turn) % 2) for turn in (1, 0))
        context = get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=_build, args=(self.study, here, there, sending), daemon=True)
        child.start()
        sending.close()
        try:
            while not receiving.poll(0.1):
                if self.ended.is_set():
                    raise UserError("stopped")
            problem = receiving.recv()
        except EOFError:
            problem = "the process that builds the report died"
        finally:
            child.terminate()
            child.join()
        if problem:
            raise UserError(problem)
        self.number += 1
        return here


def _build(study: Study, folder: Path, before: Path, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    from ablate.reports.load import load
    from ablate.reports.site import build

    try:
        build(load(study), folder, live=True, before=before)
        connection.send("")
    except UserError as error:
        connection.send(str(error))


class Served(NamedTuple):
    """Where a report is served: its address, and a file of the user's alone that leads there.

    A browser is started with the file: what a program is started with, all users can read.
    """

    address: str
    door: Path


@contextmanager
def served(study: Study, port: int, tell: Callable[[str], None]) -> Iterator[Served]:
    """The report of the study, served while the context lasts.

    `tell` is called with what keeps a newer report from being built; the last good one stays.
    """
    shelf, ended = ServedFiles(), threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="ablate-report-") as scratch,
        Server(shelf, port) as server,
    ):
        builds = _Builds(study, Path(scratch), ended)
        seen = state(home())
        shelf.put(builds.next())
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}),
            threading.Thread(target=_follow, args=(builds, shelf, seen, tell)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield Served(server.address, door(Path(scratch), server.address))
        finally:
            ended.set()
            server.shutdown()
            for thread in threads:
                thread.join()


def door(folder: Path, address: str) -> Path:
    """A new page in `folder`, for its owner only, that leads to the address."""
    path = folder / "open.html"
    path.touch(mode=0o600)
    path.write_text(
        '<!doctype html>\n<meta charset="utf-8">\n<title>ablate</title>\n'
        f'<meta http-equiv="refresh" content="0; url={address}">\n'
        f'<a href="{address}">The report</a>\n',
        encoding="utf-8",
    )
    return path


def _follow(builds: _Builds, shelf: ServedFiles, seen: State, tell: Callable[[str], None]) -> None:
    made = time.monotonic()
    moved = beats(home())
    while not builds.ended.wait(EVERY):
        now = state(home())
        stale = time.monotonic() - made > STALE and beats(home()) != moved
        if now == seen and not stale:
            continue
        seen, moved, made = now, beats(home()), time.monotonic()
        try:
            shelf.put(builds.next())
        except UserError as error:
            if not builds.ended.is_set():
                tell(f"the report stays as it was: {error}")


def state(folder: Path) -> State:
    """What of the results below `folder` a report shows, by name and time of change.

    Steps that are done, failed or at work, and decisions; not how far a step is.
    """
    patterns = ("store/*/*", "leases/*/*", "failed/*/*/record.json", "studies/**/*.json")
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    return sorted((str(path), _changed(path)) for path in files)


def beats(folder: Path) -> State:
    """What changes below `folder` for as long as a step is at work."""
    return sorted((str(path), _touched(path)) for path in folder.glob("leases/*/*/*"))


def _touched(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _changed(path: Path) -> int:
    """When a file changed, in nanoseconds; 0 for a folder, and for what is gone again."""
    try:
        return path.stat().st_mtime_ns if path.suffix == ".json" else 0
    except OSError:
        return 0
