"""`ablate logs` finds a step by what is easy to type, and says what it lacks."""

import json
import threading
from pathlib import Path

import pytest

from ablate.commands import logbook
from ablate.errors import UserError
from ablate.lease import Watch


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


def test_follow_prints_what_is_written_until_the_step_ends(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = Watch().take(logs.parent / "leases" / "prealign" / "sam-micro@128-aaaaaaaaaaaa")
    assert lease is not None

    def work() -> None:
        with (logs / "prealign-sam-micro@128-aaaaaaaaaaaa" / "attempt-1.log").open("a") as file:
            file.write("more\n")
        lease.release()

    timer = threading.Timer(0.5, work)
    timer.start()
    logbook.show("aaaa", follow=True, as_json=False)
    timer.join()
    assert capsys.readouterr().out == "sam\nmore\n"
