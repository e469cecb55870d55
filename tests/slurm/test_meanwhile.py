"""What a user does while a study runs on Slurm: watch it, read logs, end it, ask the doctor."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import core_fakes
import pytest
import slurm_fakes
from loopback import told
from test_slurm import changes_for, of_seeds, on_slurm, until

from ablate.commands import doctor, status
from ablate.commands import logs as logbook
from ablate.commands import run as running
from ablate.commands.drivers_and_jobs import at_hand
from ablate.driver import detach
from ablate.driver.cancel import cancel
from ablate.driver.invocation import Invocation, last_driven
from ablate.launch.drives import drives
from ablate.launch.finding import Finding
from ablate.launch.slurm import doctor as doctor_slurm
from ablate.launch.slurm.scontrol import configured
from ablate.store.artifacts import Store
from ablate.store.lease import Watch

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


def alive(*jobs: str) -> list[str]:
    """Those of these jobs, or of all, that have not ended."""
    listed = [f"--jobs={','.join(jobs)}"] if jobs else []
    return told("squeue", "--noheader", "--array", "--format=%i", *listed)


def test_cancel_ends_the_driver_its_running_and_waiting_jobs_and_nothing_else(
    own_home: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "600")
    mine = told("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")[0]
    study = of_seeds(3, "infra.slurm.extra.nodelist=fake1", "infra.slurm.cpus=4")
    ended: list[int | str | None] = []

    def drive() -> None:
        try:
            on_slurm(study, own_home, fakes)
        except SystemExit as stopped:
            ended.append(stopped.code)

    driver = threading.Thread(target=drive)
    driver.start()
    until(lambda: core_fakes.executed(own_home, "begin"))
    work = at_hand(own_home, study.id, Watch())
    assert [one.state for one in work.drivers] == ["alive"]
    assert len(work.waiting) == 2
    assert all(one.steps for one in work.waiting)
    (drive_found,) = drives(own_home, study.id)
    jobs = list(drive_found.jobs())
    assert len(jobs) == 3
    drive_found.stop()  # as from another machine: this one would signal the process of the test
    driver.join(120)
    assert ended == [143]
    until(lambda: not set(alive()) & set(jobs))
    assert list(cancel(own_home)) == []
    assert alive(mine) == [mine]
    told("scancel", mine)


def test_jobs_of_a_driver_that_is_gone_are_ended_and_the_users_others_are_not(
    own_home: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "600")
    before = set(alive())  # those of an earlier test may take their time to end
    program = (
        "import sys, test_slurm, core_fakes, pathlib\n"
        "study = test_slurm.of_seeds(2)\n"
        "test_slurm.on_slurm(study, pathlib.Path(sys.argv[1]), core_fakes.EXECUTORS)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", program, str(own_home)])
    until(lambda: core_fakes.executed(own_home, "begin"))
    driver.kill()
    driver.wait()
    mine = told("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")[0]
    endings = list(cancel(own_home, of_seeds(2).id))
    assert len(endings) == 2
    assert all(one.what.startswith("job of micro/smoke-") and not one.left for one in endings)
    assert set(alive()) - before == {mine}
    assert not list(drives(own_home))
    told("scancel", mine)


def test_a_job_that_has_answered_and_does_not_end_is_named_cancelled_and_known_to_cancel(
    own_home: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.launch.slurm.jobs.LEAVE", 2.0)
    study = of_seeds(2, "infra.slurm.setup=['trap \"\" TERM', 'trap \"sleep 60\" EXIT']")
    said = [event.message for event in on_slurm(study, own_home, fakes) if event.what == "notice"]
    (drive_left,) = drives(own_home, study.id)
    left = alive(*{job.partition("_")[0] for job in drive_left.jobs()})
    assert len(left) == 2
    assert f"jobs still ending, cancelled: {left[0].partition('_')[0]}; " in said[-1]
    work = at_hand(own_home, study.id, Watch())
    assert sorted(one.job.number for one in work.ending) == sorted(left)
    endings = list(cancel(own_home, study.id))
    assert {one.what for one in endings} == {f"job of {study.id}: {job}" for job in left}
    assert not any(one.left for one in endings)
    assert not list(drives(own_home))


def test_a_cluster_tells_its_limits() -> None:
    assert configured()["MaxArraySize"] > 1
    assert doctor_slurm._limits().status == "ok"


def test_a_broken_set_up_line_is_found_in_the_logs_of_the_step_that_never_began(
    own_home: Path, fakes: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    study = of_seeds(1, "infra.slurm.setup=[module load cuda/99, exit 3]")
    events = on_slurm(study, own_home, fakes)
    assert [event.what for event in events] == ["submitted", "failed"]
    failed = events[-1].step
    assert failed
    assert logbook.show(f"pretrain/{failed.slug}", follow=True, as_json=False) == 1
    assert "module: command not found" in capsys.readouterr().out
    kept = Store(own_home).logs(failed) / "job-1.log"
    assert kept.stat().st_mode & 0o077 == 0


def test_a_detached_driver_whose_jobs_are_refused_leaves_word_for_status(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detach, "Driving", slurm_fakes.Driving)
    there = ["infra.slurm.partition=nowhere", "infra.kinds.driver.slurm.partition=main"]
    command = Invocation("micro/smoke", [*changes_for(1), *there], None, 1, "slurm", detached=True)
    assert running.run(command, dry_run=False) == 0
    study = of_seeds(1)
    until(lambda: last_driven(own_home, study.id).error)
    status.show("micro/smoke", command.overrides, as_json=False)
    said = capsys.readouterr().out
    log = last_driven(own_home, study.id).log
    assert re.search(rf"the last driver failed: sbatch refused: .*; what it printed: {log}", said)
    assert f"nothing works on it: `{command.as_shell('run')}` goes on" in said
    until(lambda: "ablate: sbatch refused: " in Path(log).read_text())


def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **slurm: object) -> None:
    """The user's default cluster asks for this."""
    asked = {"cpus": 1, "timeout_min": 60, "gpus": 0} | slurm
    whole = {"default": "mine", "clusters": {"mine": {"slurm": asked}}}
    (tmp_path / "clusters.yaml").write_text(json.dumps(whole))
    monkeypatch.setenv("ABLATE_CLUSTERS", str(tmp_path / "clusters.yaml"))
    monkeypatch.setattr(doctor_slurm, "SURE", 1.0)
    monkeypatch.setattr(doctor_slurm, "SEEN", 1.0)


def examined(own_home: Path) -> dict[str, Finding]:
    found = {finding.check: finding for finding in doctor.examine_jobs("slurm")}
    assert not list(own_home.glob("doctor-*"))
    assert not told("squeue", "-h", "--states=PENDING,RUNNING", "--name=ablate-doctor")
    return found


def test_the_doctor_finds_a_cluster_well(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(tmp_path, monkeypatch)
    found = examined(own_home)
    problems = {check: one for check, one in found.items() if one.status != "ok"}
    assert [one.found for one in problems.values()] == ["none was asked for"]
    assert found["signal"].found.startswith("USR2 reaches the job")
    assert found["requeue"].status == "ok"
    assert found["sacct"].found.startswith("does not answer, which is fine")


@pytest.mark.parametrize(
    ("asked", "check", "words"),
    [
        ({"partition": "gpu"}, "sbatch", "infra.slurm.partition to one of yours: main, scavenge"),
        ({"gpus": 9}, "sbatch", "infra.slurm.gpus"),
        ({"extra": {"hold": True}}, "queue", "Change the request"),
        ({"setup": ["module load cuda/99", "exit 3"]}, "set-up", "infra.slurm.setup comes from"),
        ({"setup": ["exit 3"]}, "set-up", "Mend that line"),
        ({"python": ["/nowhere/python"]}, "python there", "See that /nowhere/python is there"),
    ],
)
def test_the_doctor_says_what_to_mend(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, object],
    check: str,
    words: str,
) -> None:
    profile(tmp_path, monkeypatch, **asked)
    found = examined(own_home)[check]
    assert found.status == "problem"
    assert words in found.remedy
