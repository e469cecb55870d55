"""The hub's own client against a server that answers as the hub does, on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hub_toys import COMMIT

from ablate.errors import UserError
from ablate.files import sha256_file
from ablate.hub import download

WEIGHTS = bytes(range(256)) * 2**16  # the client writes down 10 MB at a time


class Server(ThreadingHTTPServer):
    """Holds one repository with one file. `breaks`: so many times it is sent without its end."""

    daemon_threads = True
    breaks = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer(b"", len(WEIGHTS))

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/someone/model"):
            files = [{"rfilename": "model.safetensors"}]
            told = json.dumps({"id": "someone/model", "sha": COMMIT, "siblings": files}).encode()
            self._answer(told, len(told))
        elif self.path == f"/someone/model/resolve/{COMMIT}/model.safetensors":
            asked = self.headers.get("Range")
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            end = len(WEIGHTS) - 2**20 * bool(self.server.breaks)
            self.server.breaks = max(self.server.breaks - 1, 0)
            self._answer(WEIGHTS[start:end], len(WEIGHTS) - start, start)
        else:
            self.send_error(404)

    def _answer(self, body: bytes, length: int, start: int = 0) -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(length))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}")
        self.send_header("ETag", '"0123"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between its tries
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_connection_that_breaks_is_taken_up_again_where_it_broke(
    server: Server, tmp_path: Path
) -> None:
    found = download.repository("someone/model")
    assert (found.commit, found.files) == (COMMIT, {"model.safetensors"})
    server.breaks = 1
    place = found.download("model.safetensors", tmp_path)
    assert place == tmp_path / "model.safetensors"
    assert place.read_bytes() == WEIGHTS
    first, again = server.ranges
    assert first is None
    assert again is not None
    assert download.notes(tmp_path)["model.safetensors"] == {
        "repository": "someone/model",
        "revision": COMMIT,
        "sha256": sha256_file(place),
    }


def test_a_connection_that_breaks_for_good_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.breaks = 99
    with pytest.raises(UserError, match="someone/model cannot be fetched: "):
        download.repository("someone/model").download("model.safetensors", tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert not list(tmp_path.rglob("*.incomplete"))
    assert download.notes(tmp_path) == {}


def test_what_is_there_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    found = download.repository("someone/model")
    found.download("model.safetensors", tmp_path)
    server.ranges.clear()
    found.download("model.safetensors", tmp_path)
    assert server.ranges == []


def test_no_such_repository_or_file_is_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^nobody/nothing cannot be fetched: .*404"):
        download.repository("nobody/nothing")
    with pytest.raises(UserError, match=r"^someone/model on the hub holds no x\.bin$"):
        download.repository("someone/model").download("x.bin", tmp_path)


def test_a_repository_for_those_who_asked_says_where_to_ask() -> None:
    from huggingface_hub.errors import GatedRepoError

    refused = GatedRepoError.__new__(GatedRepoError)
    with (
        pytest.raises(UserError, match=r"ask at https://huggingface\.co/a/b, then `hf auth login`"),
        download.answered("a/b"),
    ):
        raise refused
