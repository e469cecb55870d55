"""A stand-in of the Hugging Face hub on a port of this machine, which takes what is pushed to it.

As its client of 2026 speaks to it: a repository is created, files are asked about, large ones sent
apart by the protocol of git LFS, small ones within the commit.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "c0ffee" * 6 + "c0ff"
LARGE = ".safetensors"


class HubServer(ThreadingHTTPServer):
    """`repositories`: the files of each by path; `sent_apart`: large ones by their sha256."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.sent_apart: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        name = f"{given['organization']}/{given['name']}"
        self.repositories.setdefault(name, {})
        return {"url": f"{self.address}/{name}"}

    def modes(self, given: dict[str, Any]) -> dict[str, Any]:
        paths = [file["path"] for file in given["files"]]
        modes = [("regular", "lfs")[path.endswith(LARGE)] for path in paths]
        told = [{"path": path, "uploadMode": mode} for path, mode in zip(paths, modes, strict=True)]
        return {"files": [{**file, "shouldIgnore": False} for file in told]}

    def places(self, given: dict[str, Any]) -> dict[str, Any]:
        place = {"actions": {"upload": {"href": f"{self.address}/apart"}}}
        return {"objects": [{**each, **place} for each in given["objects"]]}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        for value in (line["value"] for line in lines if line["key"] == "file"):
            self.repositories[name][value["path"]] = base64.b64decode(value["content"])
        for value in (line["value"] for line in lines if line["key"] == "lfsFile"):
            self.repositories[name][value["path"]] = self.sent_apart[value["oid"]]
        return {"commitUrl": f"{self.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT}


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_POST(self) -> None:
        sent = [json.loads(line) for line in self._body().splitlines()]
        name = re.search(r"^/(?:api/models/)?([\w-]+/[\w-]+)", self.path)
        if self.path == "/api/repos/create":
            self._tell(self.server.create(sent[0]))
        elif self.path == "/api/validate-yaml":
            self._tell({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            self._tell(self.server.modes(sent[0]))
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._tell(self.server.places(sent[0]))
        elif "/commit/" in self.path and name:
            self._tell(self.server.commit(name[1], sent))
        else:
            self.send_error(404, self.path)

    def do_PUT(self) -> None:
        content = self._body()
        self.server.sent_apart[hashlib.sha256(content).hexdigest()] = content
        self._tell({})

    def do_GET(self) -> None:
        name, _, file = self.path[1:].partition("/resolve/main/")
        content = self.server.repositories.get(name, {}).get(file)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", hashlib.sha256(content).hexdigest())
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    do_HEAD = do_GET  # noqa: N815 (as http.server calls it)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _tell(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing of it is told."""


@contextmanager
def serving() -> Iterator[HubServer]:
    """A hub that serves until the end of the block."""
    with HubServer() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
