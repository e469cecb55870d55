"""A home on two disks, moved while it is used, short of room for a file; links to themselves."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from drivers import finish, said, start, until, workers
from in_process import ablate

from ablate.config.study import Study
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.worker.context import StepContext


@pytest.fixture
def two_disks(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """`store` and `quarantine` of the home are on other disks than the rest, and each other."""
    rename = Path.rename

    def disk(path: Path) -> str:
        part = path.relative_to(own_home).parts[0] if path.is_relative_to(own_home) else ""
        return part if part in ("store", "quarantine") else ""

    def across(path: Path, target: Path) -> Path:
        if disk(path) != disk(Path(target)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", across)


def test_a_store_on_another_disk_than_the_work_takes_each_step_once(
    small: Study, fakes: Mapping[str, str], own_home: Path, two_disks: None
) -> None:
    rounds = drive(small, backend="inline", home=own_home, executors=fakes)
    assert len(core_fakes.executed(own_home, "begin")) == 12
    answers = next(own_home.glob("store/evaluate/*pix2struct*/answers.jsonl"))
    answers.write_bytes(answers.read_bytes().replace(b'"score": 1.0', b'"score": 0.0'))
    assert drive(small, backend="inline", home=own_home, executors=fakes) == rounds
    assert len(list((own_home / "quarantine" / "evaluate").iterdir())) == 1
    assert not list(own_home.glob("store/*/.*"))
    assert not [path for path in own_home.glob("work/*/*/*") if any(path.iterdir())]


@pytest.mark.slow
def test_a_home_that_is_moved_while_it_is_used_is_said_in_a_line(
    fakes: Mapping[str, str], own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "8")
    driver = start(own_home, jobs=1)
    until(lambda: core_fakes.executed(own_home, "begin"))
    (worker,) = workers(own_home)
    own_home.rename(tmp_path / "moved")
    assert driver.wait(timeout=240) == 1
    driver.name = tmp_path / "moved" / driver.name.name  # type: ignore[attr-defined]
    line = f"error: {own_home} was moved or removed while this ran: say the same again with "
    assert said(driver, ".err").startswith(line)
    until(lambda: not worker.runs())
    monkeypatch.setenv("FAKE_SECONDS", "0")
    assert finish(start(tmp_path / "moved"))


def test_a_limit_on_the_size_of_files_is_said_in_a_line(small: Study, own_home: Path) -> None:
    def train(ctx: StepContext) -> dict[str, Any]:
        (ctx.work / "weights").write_bytes(bytes(2**22))
        return {}

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, before[1]))
    try:
        with pytest.raises(UserError, match="File too large; see `ulimit -f`"):
            drive(small, backend="inline", home=own_home, executors={"prealign": train})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: Too many levels of symbolic links"),
        ("extends: micro/smoke\nbase: &a {encoders: [*a]}\n", "study.yaml:"),
        ("extends: micro/smoke\nbase: &a\n  fusion: *a\n", "study.yaml:"),
        ("extends: ./study.yaml\n", "a study cannot extend itself"),
    ],
)
def test_a_study_that_leads_to_itself_is_said_in_a_line(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "study.yaml"
    if text is None:
        path.symlink_to(path)
    else:
        path.write_text(text)
    code, _, err = ablate("plan", str(path))
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1


def test_a_live_report_that_is_told_to_go_leaves_no_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    live = subprocess.Popen(
        [sys.executable, "-m", "ablate", "report", "micro/smoke", "--live"],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert live.stdout
    assert live.stdout.readline().startswith("http://127.0.0.1:")
    assert list(scratch.glob("ablate-report-*"))
    live.send_signal(signal.SIGTERM)
    _, err = live.communicate(timeout=240)
    assert live.returncode == 143
    assert "Traceback" not in err
    assert not list(scratch.glob("ablate-report-*"))
