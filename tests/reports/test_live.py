"""`ablate report --live`: loopback only, nothing but its own files, anew when a step finishes."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import ROUNDS, STUDY, Run, study

from ablate.errors import UserError
from ablate.reports.live import ServedFiles, Server, beats, door, state
from ablate.reports.load import load
from ablate.reports.story import tell
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for

SECRET = "not for the network"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A small folder, served; a file beside it is not."""
    folder = tmp_path / "report"
    (folder / "data").mkdir(parents=True)
    (folder / "index.html").write_text("<p>first</p>")
    (folder / "data" / "questions.js").write_text("report.take()")
    (tmp_path / "secret.txt").write_text(SECRET)
    shelf = ServedFiles()
    shelf.put(folder)
    with Server(shelf) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers; the path is sent as it is, below the word of the server."""
    return ask_as_it_is(server, f"/{server.word}{path}", method, **headers)


def ask_as_it_is(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    link = http.client.HTTPConnection(*server.server_address[:2], timeout=60)
    sent = {"Host": f"127.0.0.1:{server.server_port}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    link.putrequest(method, path, skip_host=True)
    for name, value in sent.items():
        link.putheader(name, value)
    link.endheaders()
    answer = link.getresponse()
    body = answer.read().decode()
    link.close()
    return answer.status, body, dict(answer.getheaders())


def test_it_listens_on_loopback_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.word}/"


def test_who_does_not_know_the_word_is_shown_nothing(server: Server) -> None:
    assert len(server.word) >= 32
    word = server.word
    wrong = ["/", "/index.html", f"/{word[:-1]}/", f"/{word}x/", f"/x{word[1:]}/index.html"]
    wrong += [f"/a/{word}/", f"/?{word}/", f"/index.html?{word}", "/%c3%a9/", f"/{word[:-4]}"]
    for path in wrong:
        assert ask_as_it_is(server, path)[:2] == (404, "not found\n")
    assert ask_as_it_is(server, f"/{word}/")[0] == 200
    assert ask_as_it_is(server, f"/{word}/")[2]["Referrer-Policy"] == "no-referrer"
    with Server(ServedFiles()) as another:
        assert another.word != word


def test_a_browser_is_started_with_a_file_of_the_users_alone(tmp_path: Path) -> None:
    address = "http://127.0.0.1:1234/a-word/"
    made = door(tmp_path, address)
    assert made.stat().st_mode & 0o777 == 0o600
    assert f'content="0; url={address}"' in made.read_text(encoding="utf-8")


def test_it_serves_the_files_of_the_report(server: Server) -> None:
    status, body, headers = ask(server, "/")
    assert (status, body) == (200, "<p>first</p>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server, "/index.html?any")[:2] == (200, "<p>first</p>")
    assert ask(server, "/data/questions.js")[2]["Content-Type"].startswith("text/javascript")
    assert ask(server, "/", "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/data/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/data/..\\..\\secret.txt",
        "/data",
        "/data/",
        "/index.html/",
        "/%00",
        "*",
    ],
)
def test_nothing_else_is_there(server: Server, path: str) -> None:
    status, body, _ = ask(server, path)
    assert status == 404
    assert SECRET not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_it_can_only_be_read(server: Server, method: str) -> None:
    assert ask(server, "/", method)[0] == 501


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", ""])
def test_a_site_that_leads_here_by_its_own_name_is_refused(server: Server, host: str) -> None:
    status, body, _ = ask(server, "/", Host=host)
    assert (status, body) == (403, "not served under this name\n")


def test_a_page_has_the_same_tag_until_it_changes(server: Server, tmp_path: Path) -> None:
    tag = ask(server, "/", "HEAD")[2]["ETag"]
    assert ask(server, "/", If_None_Match=tag)[:2] == (304, "")
    (tmp_path / "report" / "index.html").write_text("<p>second</p>")
    server.shelf.put(tmp_path / "report")
    assert ask(server, "/", If_None_Match=tag)[:2] == (200, "<p>second</p>")


def test_a_port_that_is_taken_is_a_users_mistake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: Address already in use; leave it"):
            Server(ServedFiles(), port)


def test_the_state_changes_with_what_a_report_shows(tmp_path: Path) -> None:
    subject = study(tmp_path, STUDY + ROUNDS)
    run = Run(tmp_path, subject, images=2)
    candidates = rounds_so_far(subject, StoredResults(run.store, subject), 1)[-1].candidates
    seen = [state(tmp_path)]
    run.fail(candidates[0], "finetune", "no reason")
    seen.append(state(tmp_path))
    run.finish(candidates[0])
    seen.append(state(tmp_path))
    assert seen[0] == []
    assert seen[0] != seen[1] != seen[2]
    assert state(tmp_path) == seen[2]


def test_a_step_at_work_is_told_with_how_far_it_is_and_the_time_left(tmp_path: Path) -> None:
    subject = study(tmp_path, STUDY + ROUNDS)
    store = Store(tmp_path)
    (tmp_path / "store").mkdir()
    step = steps_for(
        rounds_so_far(subject, StoredResults(store, subject), 1)[0].candidates[0], subject
    )[0]
    with store.watch.take(store.leases(step)) as lease:
        before = beats(tmp_path)
        lease.done, lease.total, lease.spent = 30, 60, 5.0
        lease.beat()
        assert beats(tmp_path) != before
        [line] = [line for line in tell(load(subject, tmp_path)).missing if "At work" in line]
    found = re.fullmatch(
        r"At work at \d\d:\d\d: prealign (\S+) \(30 of 60, about .+ left\)\.", line
    )
    assert found
    assert found[1] == step.slug


def test_from_the_command_line_it_follows_the_store_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    subject = study(tmp_path, STUDY + ROUNDS)
    run = Run(tmp_path / "home", subject, images=2)
    environment = {**os.environ, "ABLATE_HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "ablate", "report", str(tmp_path / "greedy.yaml"), "--live"]
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as live,
        contextlib.ExitStack() as kept,
    ):
        assert live.stdout is not None
        kept.callback(live.kill)  # where the test fails
        address = live.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/[\w-]{32}/)\n", address)
        assert found, live.stderr and live.stderr.read()

        def page() -> str:
            link = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
            link.request("GET", found[2])
            return link.getresponse().read().decode()

        assert "No candidate is scored yet." in page()
        run.rounds(1)
        end = time.monotonic() + 240
        while "So far," not in page():
            assert time.monotonic() < end
            time.sleep(0.2)
        live.send_signal(signal.SIGINT)
        _, err = live.communicate(timeout=120)
    assert live.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("ablate: stopped")
