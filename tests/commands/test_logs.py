"""`ablate logs` finds a step by what is easy to type, and says what it lacks."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from ablate.commands import logs as logbook
from ablate.errors import UserError
from ablate.files import write_json
from ablate.launch.slurm.arrays import Array
from ablate.store.lease import Lease, Watch
from ablate.store.process import Process


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path))
    for name, text in {
        "prealign-sam-micro@128-aaaaaaaaaaaa": "sam",
        "prealign-clip-micro@32-bbbbbbbbbbbb": "clip",
        "pretrain-clip-micro@32+sam-micro@128.channel_concat-cccccccccccc": "both",
    }.items():
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / "attempt-1.log").write_text(f"{text}\n")
    return tmp_path / "logs"


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("aaaa", "sam"),
        ("prealign/sam", "sam"),
        ("prealign clip-micro", "clip"),
        ("prealign-clip-micro@32-bbbbbbbbbbbb", "clip"),
        ("pretrain", "both"),
        ("sam-micro@128.channel", "both"),
    ],
)
def test_a_step_is_found_by_key_kind_or_name(
    logs: Path, capsys: pytest.CaptureFixture[str], given: str, printed: str
) -> None:
    logbook.show(given, follow=False, as_json=False)
    assert capsys.readouterr().out == f"{printed}\n"


def test_the_last_attempt_is_printed_by_number(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = logs / "prealign-sam-micro@128-aaaaaaaaaaaa"
    (folder / "attempt-10.log").write_text("tenth")
    (folder / "attempt-9.log").write_text("ninth")
    logbook.show("aaaa", follow=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["text"] == "tenth"


@pytest.mark.parametrize(
    ("given", "said"),
    [("prealing/sam-micro", "did you mean 'prealign-sam"), ("micro", "begins 3 steps: ")],
)
def test_none_or_several_are_named(logs: Path, given: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        logbook.find(given)


@pytest.fixture
def sam(logs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the logs of a step that is looked at often."""
    monkeypatch.setattr(logbook, "LOOK", 0.02)
    return logs / SAM


SAM = "prealign-sam-micro@128-aaaaaaaaaaaa"


def ended(home: Path, part: str) -> None:
    """The step is done (`store`), or has failed (`failed`)."""
    kind, _, dirname = SAM.partition("-")
    write_json(home / part / kind / dirname / "record.json", {})


def held(home: Path) -> Lease:
    lease = Watch().take(home / "leases" / "prealign" / "sam-micro@128-aaaaaaaaaaaa")
    assert lease is not None
    return lease


def followed(doing: Callable[[], None]) -> int:
    """The exit code of following the step while something happens."""
    other = threading.Timer(0.1, doing)
    other.start()
    code = logbook.show("aaaa", follow=True, as_json=False)
    other.join()
    return code


@pytest.mark.parametrize(("part", "code"), [("store", 0), ("failed", 1)])
def test_follow_prints_what_is_written_until_the_step_ends(
    sam: Path, capsys: pytest.CaptureFixture[str], part: str, code: int
) -> None:
    lease = held(sam.parents[1])

    def work() -> None:
        with (sam / "attempt-1.log").open("ab") as file:
            for piece in ("möre\n".encode()[:2], "möre\n".encode()[2:]):
                file.write(piece)
                file.flush()
                time.sleep(0.1)
        ended(sam.parents[1], part)
        lease.release()

    assert followed(work) == code
    assert capsys.readouterr().out == "sam\nmöre\n"


def test_follow_says_at_once_and_while_nothing_comes_where_the_step_stands(
    sam: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "STILL", 0.1)
    lease = held(sam.parents[1])

    def work() -> None:
        lease.done, lease.total, lease.note = 60, 240, "loss 1.234"
        lease.beat()
        time.sleep(0.5)
        ended(sam.parents[1], "store")
        lease.release()

    assert followed(work) == 0
    first, *more = capsys.readouterr().err.splitlines()
    assert first == f"--- {SAM}: running, starting"
    assert more
    assert more[0].startswith("--- running, 60 of 240, loss 1.234, ")
    assert more[0].endswith(" left")


def test_follow_goes_on_with_the_next_attempt_wherever_it_runs(
    sam: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = sam.parents[1]
    held(home).release()  # interrupted: neither done nor failed

    def work() -> None:
        lease = held(home)
        (sam / "attempt-2.log").write_text("again\n")
        time.sleep(0.1)
        (sam / "attempt-3.log").write_text("and again\n")
        ended(home, "store")
        lease.release()

    assert followed(work) == 0
    said = capsys.readouterr()
    assert said.out == "sam\nagain\nand again\n"
    assert said.err.splitlines() == [
        f"--- {SAM}: nobody works on it now; waiting for the next attempt (Ctrl-C ends this)",
        "--- attempt 2",
        "--- attempt 3",
    ]


def test_an_attempt_is_read_before_the_folders_listing_shows_it(
    sam: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, listed = sam.parents[1], Path.glob

    def late(folder: Path, pattern: str) -> Iterator[Path]:
        return (path for path in listed(folder, pattern) if path.name != "attempt-2.log")

    monkeypatch.setattr(Path, "glob", late)

    def work() -> None:
        (sam / "attempt-2.log").write_text("again\n")
        ended(home, "store")

    assert followed(work) == 0
    assert capsys.readouterr().out == "sam\nagain\n"


def test_an_attempt_is_chosen_by_its_number(sam: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sam / "attempt-3.log").write_text("third")
    assert logbook.show("aaaa", follow=False, as_json=False, attempt=1) == 0
    assert capsys.readouterr().out == "sam\n"
    with pytest.raises(UserError, match="has no attempt 2; it has 1, 3"):
        logbook.show("aaaa", follow=False, as_json=False, attempt=2)


def test_of_a_step_that_never_began_its_jobs_last_words_are_shown(
    sam: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, key = sam.parents[1], "dddddddddddd"
    mine = {"study": "micro/smoke", "process": asdict(Process.this())}
    write_json(home / "drives" / "abc" / "driver.json", mine)
    array = Array(home / "drives" / "abc" / "array-1", [["e" * 64], [key + "0" * 52]], "7")
    array.save()
    (array.folder / "7_0_0_log.err").write_text("another's\n")
    (array.folder / "7_1_0_log.out").write_text("loading modules\n")
    (array.folder / "7_1_0_log.err").write_text("module: no cuda/99\n")
    logbook.show("dddd", follow=False, as_json=False)
    assert capsys.readouterr().out == "loading modules\nmodule: no cuda/99\n"
    shutil.rmtree(home / "drives")
    write_json(home / "failed" / "prealign" / f"clip-{key}" / "record.json", {})
    kept = home / "logs" / f"prealign-clip-{key}" / "job-1.log"
    kept.parent.mkdir()
    kept.write_text("module: no cuda/99\n")
    assert logbook.show("prealign/clip-dddd", follow=True, as_json=False) == 1
    assert capsys.readouterr().out == "module: no cuda/99\n"


QUEUED = "dddddddddddd"


@pytest.fixture
def queued(sam: Path) -> Array:
    """A job of a driver on the way to a step that nobody has begun, by way of another one."""
    home = sam.parents[1]
    mine = {"study": "micro/smoke", "process": asdict(Process.this())}
    write_json(home / "drives" / "abc" / "driver.json", mine)
    array = Array(home / "drives" / "abc" / "array-1", [["e" * 64, QUEUED + "0" * 52]], "7")
    array.save()
    return array


def test_a_step_in_the_queue_is_followed_from_there_to_its_end(
    sam: Path, queued: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    home, place = sam.parents[1], f"clip-{QUEUED}"

    def work() -> None:
        lease = Watch().take(home / "leases" / "pretrain" / place)
        assert lease is not None
        attempt = home / "logs" / f"pretrain-{place}" / "attempt-1.log"
        attempt.parent.mkdir()
        attempt.write_text("loss 2.1\n")
        time.sleep(0.1)
        write_json(home / "store" / "pretrain" / place / "record.json", {})
        lease.release()

    other = threading.Timer(0.1, work)
    other.start()
    assert logbook.show(QUEUED[:6], follow=True, as_json=False) == 0
    other.join()
    said = capsys.readouterr()
    assert said.out == "loss 2.1\n"
    waits = "its job is in the queue, starts, or is at a step before it"
    assert said.err.startswith(f"--- {QUEUED}: {waits}")
    assert "nobody works on it" not in said.err


def test_what_waits_in_the_queue_is_named_by_key_only(queued: Array) -> None:
    assert logbook.find("eeee") == "eeeeeeeeeeee"
    with pytest.raises(UserError, match="found by their keys") as error:
        logbook.find("evaluate/clip")
    assert QUEUED not in str(error.value)
