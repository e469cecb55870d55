"""`ablate cancel` ends what a study's drivers started and nothing else, and says what is left."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import core_fakes
import pytest
from drivers import kill, start, until, workers

from ablate.commands import cancel as command
from ablate.config.study import load_study
from ablate.driver import cancel as ends
from ablate.driver.cancel import CancelResult, cancel
from ablate.files import write_json
from ablate.launch.drives import DriverSession, drives
from ablate.launch.slurm.arrays import Array
from ablate.store.lease import Watch
from ablate.store.process import Process

NAME = "micro/smoke"
ELSEWHERE = replace(Process.this(), host="login2", machine="another")
GONE = replace(Process.this(), born="0")


def left_by(
    home: Path, driver: Process, study: str = NAME, jobs: tuple[str, ...] = ()
) -> DriverSession:
    """The folder of a driver that is, or was, `driver`."""
    folder = home / "drives" / f"{study.replace('/', '-')}-{driver.host}"
    write_json(folder / "driver.json", {"study": study, "process": asdict(driver)})
    lease = Watch().take(folder / "lease")
    assert lease
    lease.owner = driver
    lease.beat()
    for n, job in enumerate(jobs):
        Array(folder / f"array-{n}", [["key"]], job).save()
    return DriverSession(folder, study, driver)


@pytest.fixture
def slow(fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take long enough to be ended in the middle."""
    monkeypatch.setenv("FAKE_SECONDS", "30")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm of two scripts: `queue` holds a line a job, which scancel takes out and notes."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in {
        "squeue": f"cat {folder}/queue",
        "scancel": f"cd {folder}; "
        'for job; do echo $job >>cancelled; sed -i "/^$job|/d" queue; done',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_the_driver_ends_and_its_workers_with_it(slow: None, own_home: Path) -> None:
    driver = start(own_home)
    until(lambda: len(core_fakes.executed(own_home, "begin")) == 2)
    left = workers(own_home)
    assert list(cancel(own_home, "another")) == []
    mine = load_study(NAME, ["seeds=[0]"]).id
    first, *others = cancel(own_home, mine)
    assert first.what.startswith(f"driver of {mine}, process {driver.pid} on ")
    assert {one.what.split()[4] for one in others} == {str(process.pid) for process in left}
    assert not any(one.left for one in (first, *others))
    assert driver.wait(timeout=240) == 143
    assert not any(process.runs() for process in left)
    assert not list(drives(own_home))


def test_workers_whose_driver_is_gone_are_ended(slow: None, own_home: Path) -> None:
    driver = start(own_home, jobs=1)
    until(lambda: core_fakes.executed(own_home, "begin"))
    kill(driver)
    (only,) = cancel(own_home)
    assert only.what.startswith(f"worker of {NAME}")
    until(lambda: not workers(own_home), 10)
    assert not list(drives(own_home))


def test_a_driver_anywhere_sees_the_wish_in_its_folder(slow: None, own_home: Path) -> None:
    driver = start(own_home, jobs=1)
    until(lambda: core_fakes.executed(own_home, "begin"))
    (drive,) = drives(own_home)
    drive.stop()
    assert driver.wait(timeout=240) == 128 + signal.SIGTERM
    assert not drive.folder.exists()
    drive.stop()
    assert not drive.folder.exists()


def test_a_driver_on_another_machine_that_answers_has_ended(own_home: Path) -> None:
    drive = left_by(own_home, ELSEWHERE)

    def answer() -> None:
        until((drive.folder / "stop").exists)
        shutil.rmtree(drive.folder)

    other = threading.Thread(target=answer)
    other.start()
    assert [one.left for one in cancel(own_home)] == [""]
    other.join()


def test_a_driver_that_ends_as_soon_as_it_is_asked_is_said_to_have_ended(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by(own_home, ELSEWHERE)
    monkeypatch.setattr(DriverSession, "stop", lambda drive: shutil.rmtree(drive.folder))
    assert [one.left for one in cancel(own_home)] == [""]


def test_a_driver_that_cannot_be_reached_is_left_with_its_machine_named(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ends, "FAR", 0.2)
    drive = left_by(own_home, ELSEWHERE)
    write_json(drive.folder / "slot-0" / "worker.json", asdict(ELSEWHERE))
    assert command.cancel(NAME, []) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"left  driver of {NAME}, process {os.getpid()} on login2: asked to")
    assert "the same command on login2 ends it" in second
    assert (drive.folder / "driver.json").exists()


def test_only_the_studys_own_jobs_are_cancelled_array_tasks_too(
    own_home: Path, slurm: Path
) -> None:
    (slurm / "queue").write_text(
        "12_0|a|RUNNING|None\n12_1|a|PENDING|Resources\n13|b|COMPLETED|None\n"
    )
    left_by(own_home, GONE, jobs=("12_0", "12_1", "13", "14"))
    theirs = left_by(own_home, GONE, "micro/fusion", jobs=("20",))
    assert list(cancel(own_home, NAME)) == [
        CancelResult(f"job of {NAME}: 12_0"),
        CancelResult(f"job of {NAME}: 12_1"),
    ]
    assert (slurm / "cancelled").read_text().split() == ["12_0", "12_1"]
    assert [drive.folder for drive in drives(own_home)] == [theirs.folder]


def test_jobs_that_have_answered_and_do_not_end_are_cancelled_too(
    own_home: Path, slurm: Path
) -> None:
    (slurm / "queue").write_text("12|a|COMPLETING|None\n13|a|RUNNING|None\n")
    drive = left_by(own_home, GONE, jobs=("12", "13", "14"))
    for path in drive.folder.glob("array-*"):
        write_json(path / "0.outcome.json", {"status": "done"})
    assert {one.what for one in cancel(own_home)} == {f"job of {NAME}: 12", f"job of {NAME}: 13"}
    assert (slurm / "cancelled").read_text().split() == ["12", "13"]


def test_jobs_that_a_driver_ends_by_itself_have_a_line_each(own_home: Path, slurm: Path) -> None:
    (slurm / "queue").write_text("12|a|RUNNING|None\n13|a|PENDING|Resources\n")
    drive = left_by(own_home, ELSEWHERE, jobs=("12", "13"))

    def end() -> None:
        until((drive.folder / "stop").exists)
        (slurm / "queue").write_text("")
        shutil.rmtree(drive.folder)

    other = threading.Thread(target=end)
    other.start()
    first, *jobs = cancel(own_home, NAME)
    other.join()
    assert first.what.startswith(f"driver of {NAME}")
    assert jobs == [CancelResult(f"job of {NAME}: 12"), CancelResult(f"job of {NAME}: 13")]


def test_jobs_that_do_not_end_or_are_not_known_of_are_left(
    own_home: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "ORDERLY", 0.2)
    (slurm / "queue").write_text("7|a|RUNNING|None\n")
    (slurm / "scancel").write_text("#!/bin/sh\n")
    drive = left_by(own_home, GONE, jobs=("7", "8"))
    (only,) = cancel(own_home)
    assert only == CancelResult(
        f"job of {NAME}: 7", "still ending; `scancel --signal=KILL --full 7` hurries it"
    )
    (slurm / "squeue").write_text(
        "#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n"
    )
    (only,) = cancel(own_home)
    assert (only.what, only.left.partition(" here")[0]) == (
        f"jobs of {NAME}: 7, 8",
        "Slurm does not answer",
    )
    assert drive.folder.exists()


def test_what_a_study_shares_goes_on_for_the_other_one(
    slow: None, own_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(json.dumps({"extends": NAME, "seeds": [0]}))
    driver = start(own_home, jobs=1)
    until(lambda: core_fakes.executed(own_home, "begin"))
    assert command.cancel(str(tmp_path / "mine.yaml"), []) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nothing is at work on mine\nanother study shares what is still at")
    assert "prealign" in said.err
    time.sleep(0.1)
    assert driver.poll() is None
    assert all(one.left == "" for one in cancel(own_home))
    driver.wait()
