"""A study driven through a real Slurm on loopback, which does to its jobs what clusters do."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import core_fakes
import pytest
import slurm_fakes
from loopback import told

from ablate.commands import run as running
from ablate.config.clusters import with_profile
from ablate.config.study import Study, load_study
from ablate.driver import detach
from ablate.driver.events import Event
from ablate.driver.invocation import Invocation
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.launch.slurm.sbatch import request, submit
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.lease import Watch, look
from ablate.store.results import Failure, StoredResults

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]
ARMS = {"kind": "arms", "axis": "none", "arms": [{"name": "base"}]}


def of_seeds(seeds: int, *changes: str) -> Study:
    """One candidate of three steps a seed, which can all start at once."""
    return with_profile(load_study("micro/smoke", [*changes_for(seeds), *changes]))


def changes_for(seeds: int) -> list[str]:
    explore = f"explore={json.dumps(ARMS)}"
    return [explore, "base.recipe.prealign=null", f"seeds={list(range(seeds))}"]


def on_slurm(study: Study, home: Path, executors: Mapping[str, str], **more: Any) -> list[Event]:
    events: list[Event] = []
    drive(study, None, "slurm", home=home, on_event=events.append, executors=executors, **more)
    return events


def jobs() -> list[tuple[str, str, int]]:
    """Of all jobs there were: array, task, CPUs."""
    lines = told("squeue", "--noheader", "--states=all", "--array", "--format=%j|%K|%C")
    return [(name, task, int(cpus)) for name, task, cpus in (line.split("|") for line in lines)]


def until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_slurm_decides_as_inline_does(tmp_path: Path, fakes: Mapping[str, str]) -> None:
    study = with_profile(load_study("micro/smoke", ["seeds=[0]"]))
    here = drive(study, backend="inline", home=tmp_path / "a", executors=fakes)
    there = drive(study, backend="slurm", home=tmp_path / "b", executors=fakes)
    assert [turn.decision for turn in there] == [turn.decision for turn in here]
    assert sorted(core_fakes.executed(tmp_path / "b")) == sorted(
        core_fakes.executed(tmp_path / "a")
    )
    left = [path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()]
    assert left
    assert not any(b"hush-hush" in content for content in left)


def test_the_preflight_is_the_first_job_and_of_one_process(
    tmp_path: Path, fakes: Mapping[str, str]
) -> None:
    study = of_seeds(2, "infra.devices=2")
    events = on_slurm(study, tmp_path, {**fakes, "preflight": "core_fakes:passes"})
    started = [event.step.kind for event in events if event.what == "submitted" and event.step]
    assert started[0] == "preflight"
    assert core_fakes.executed(tmp_path)[0].startswith("preflight")
    [record] = tmp_path.glob("store/preflight/*/record.json")
    result = json.loads(record.read_text())["result"]
    assert result["job"]
    assert result["processes"] == 1


def test_what_the_preflight_finds_on_a_node_is_told_and_no_array_is_submitted(
    tmp_path: Path, fakes: Mapping[str, str]
) -> None:
    with pytest.raises(UserError, match="before anything was trained: a is amiss; mend a"):
        on_slurm(of_seeds(2), tmp_path, {**fakes, "preflight": "core_fakes:refuses"})
    assert not core_fakes.executed(tmp_path)
    assert not list(tmp_path.glob("drives/*"))


def test_a_profile_reaches_the_scheduler(tmp_path: Path) -> None:
    infra = with_profile(
        load_study("micro/smoke", ["infra.cluster=full", "infra.device=auto"])
    ).infra
    train = submit(request(infra.of("finetune")), tmp_path, "train", [int])
    score = submit(request(infra.of("evaluate")), tmp_path, "score", [int])
    try:
        (found,) = [" ".join(told("scontrol", "show", "job", train))]
        for said in ("JobName=train", "TimeLimit=01:30:00", "Partition=scavenge", "Account=me"):
            assert f" {said} " in f" {' '.join(found.split())} "
        for said in ("NumNodes=2-2", "NumTasks=4", "CPUs/Task=2", "MinMemoryNode=1G", "Requeue=0"):
            assert said in found
        for said in (
            "TresPerNode=gres:gpu:2",
            "Comment=two words",
            "JobState=PENDING",
            "NtasksPerN",
        ):
            assert said in found
        (found,) = [" ".join(told("scontrol", "show", "job", score))]
        for said in (
            "TimeLimit=00:05:00",
            "Partition=main",
            "NumTasks=1",
            "TresPerNode=gres:gpu:1",
        ):
            assert said in found
    finally:
        told("scancel", train, score)


def test_what_is_ready_goes_out_as_one_array_and_no_more_than_so_many_are_submitted(
    tmp_path: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.3")
    before = set(jobs())
    kinds = "infra.kinds.evaluate.slurm.cpus=2"
    on_slurm(of_seeds(5, "infra.slurm.at_once=2", kinds), tmp_path, fakes)
    new = set(jobs()) - before
    arrays = {name: sorted(task for n, task, _ in new if n == name) for name, _, _ in new}
    assert max(len(tasks) for tasks in arrays.values()) == 2
    assert sorted(cpus for _, _, cpus in new) == [1] * 5 + [2] * 5
    at_work = most = 0
    for line in (tmp_path / "executed.log").read_text().splitlines():
        at_work += 1 if line.startswith("begin") else -1
        most = max(most, at_work)
    assert most == 2
    done = core_fakes.executed(tmp_path)
    assert len(done) == len(set(done)) == 15


def test_what_befalls_a_job_is_told_apart(tmp_path: Path) -> None:
    study = of_seeds(len(slurm_fakes.FATES), "infra.slurm.partition=scavenge")
    events: list[Event] = []

    def see(event: Event) -> None:
        events.append(event)
        if "its node failed" in event.message:
            for node in ("fake1", "fake2", "fake3"):  # those that are up do not resume
                subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])

    drive(study, None, "slurm", home=tmp_path, on_event=see, executors=slurm_fakes.EXECUTORS)
    said: dict[int, list[str]] = {}
    for event in events:
        seed = event.step.spec.get("seed") if event.step else None  # the preflight has none
        if seed is not None and event.what in ("lost", "stopped", "failed"):
            said.setdefault(seed, []).append(f"{event.what}: {event.message}")
    assert re.match(r"lost: Slurm job \S+ died", said[1][0])
    assert re.match(r"lost: Slurm job \S+ was cancelled", said[2][0])
    assert said[3][0].startswith("stopped: its job was told to go")
    assert re.match(r"failed: Slurm job \S+ ran out of memory; set infra.slurm.mem", said[4][0])
    assert said[5] == ["failed: the loss is not a number"]
    assert re.match(r"stopped: Slurm job \S+: it was preempted", said[6][-1])
    assert re.match(r"stopped: Slurm job \S+: its node failed", said[7][-1])
    lookup = StoredResults(Store(tmp_path), study)
    ends = [lookup.result(one) for one in rounds_so_far(study, lookup)[0].candidates]
    assert [n for n, end in enumerate(ends) if isinstance(end, Failure)] == [4, 5]
    assert len(ends) == 8


def test_an_impossible_request_is_said_in_one_line(
    tmp_path: Path, fakes: Mapping[str, str]
) -> None:
    study = of_seeds(1, "infra.slurm.partition=nowhere")
    command = Invocation("micro/smoke", backend="slurm", detached=True)
    with pytest.raises(UserError, match=r"sbatch refused: .*partition"):
        on_slurm(study, tmp_path, fakes)
    with pytest.raises(UserError, match=r"sbatch refused: .*partition"):
        detach.detach(running.to_its_end, command, study, tmp_path)
    assert not list((tmp_path / "drives").iterdir())


def test_a_controller_that_is_away_for_a_while_loses_nothing(
    tmp_path: Path, cluster: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "2")

    def restart() -> None:
        until(lambda: core_fakes.executed(tmp_path, "begin"))
        pid = int((cluster / "run" / "slurmctld.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        until(lambda: len(core_fakes.executed(tmp_path, "end")) >= 3)
        conf = os.environ["SLURM_CONF"]
        subprocess.run(["slurmctld", "-f", conf], check=True, capture_output=True)

    helper = threading.Thread(target=restart)
    helper.start()
    events = on_slurm(of_seeds(3), tmp_path, fakes)
    helper.join()
    done = core_fakes.executed(tmp_path, "begin")
    assert len(done) == len(set(done)) == 9
    assert not {"lost", "stopped", "failed"} & {event.what for event in events}


def test_a_job_that_hangs_is_given_up_though_slurm_calls_it_running(
    tmp_path: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "4")
    monkeypatch.setattr("ablate.launch.liveness.Watch", partial(Watch, 12.0))
    hung: list[str] = []

    def hang() -> None:
        until(lambda: len(core_fakes.executed(tmp_path, "begin")) == 2)
        owner = next(filter(None, map(look, tmp_path.glob("leases/pretrain/*")))).owner
        assert owner
        hung.append(owner.job)
        os.kill(owner.pid, signal.SIGSTOP)

    helper = threading.Thread(target=hang)
    helper.start()
    events = on_slurm(of_seeds(2), tmp_path, fakes)
    helper.join()
    said = f"Slurm job {hung[0]} shows no life, though Slurm calls it RUNNING; it was cancelled"
    assert [event.message for event in events if event.what in ("lost", "stopped")] == [said]
    assert len(core_fakes.executed(tmp_path, "begin")) == 7
    done = core_fakes.executed(tmp_path)
    assert len(done) == len(set(done)) == 6
    until(lambda: state(hung[0]) == "CANCELLED")


def start_driver(home: Path, seeds: int) -> "subprocess.Popen[str]":
    """A driver of the fakes in a process of its own."""
    command = [sys.executable, "-m", "slurm_fakes", str(home), *changes_for(seeds)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)


def test_the_jobs_of_a_dead_driver_are_adopted_not_submitted_twice(
    tmp_path: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "3")
    before = set(jobs())
    driver = start_driver(tmp_path, 3)
    until(lambda: len(core_fakes.executed(tmp_path, "begin")) == 3)
    driver.kill()
    driver.wait()
    begun = set(jobs()) - before
    events = on_slurm(of_seeds(3), tmp_path, fakes)
    assert set(jobs()) - before == begun
    assert len(begun) == 3
    assert [event.what for event in events].count("done") == 9
    done = core_fakes.executed(tmp_path, "begin")
    assert len(done) == len(set(done)) == 9
    assert not list((tmp_path / "drives").iterdir())


def test_two_drivers_submit_no_job_twice(
    tmp_path: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "1")
    before = set(jobs())
    driver = start_driver(tmp_path, 3)
    until(lambda: set(jobs()) - before)
    heard = [event for event in on_slurm(of_seeds(3), tmp_path, fakes) if event.what != "done"]
    assert driver.wait(timeout=120) == 0
    assert len(set(jobs()) - before) == 3, heard
    done = core_fakes.executed(tmp_path, "begin")
    assert len(done) == len(set(done)) == 9


@pytest.mark.parametrize("end", ["scancel --signal=USR2", "scontrol requeue"])
def test_a_detached_driver_goes_on_when_its_time_runs_out_or_its_node_fails(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: str,
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "4")
    monkeypatch.setattr(detach, "Driving", slurm_fakes.Driving)
    before = set(jobs())
    command = Invocation("micro/smoke", changes_for(3), None, None, "slurm", detached=True)
    running.run(command, dry_run=False)
    said = capsys.readouterr()
    job, log = said.out.split()[1], Path(said.err.split("tail -f ")[1].split("`")[0])
    with pytest.raises(UserError, match=f"has a driver: job {job}"):
        running.run(command, dry_run=False)
    until(lambda: core_fakes.executed(own_home, "begin"))
    begun = set(jobs()) - before  # three steps, and the driver
    told(*end.split(), job)
    until(lambda: state(job) == "PENDING")
    time.sleep(3)  # the first run's end must not be taken for the second's
    until(lambda: begins(job))
    until(lambda: state(job) == "COMPLETED")
    assert "report: nowhere" in log.read_text()
    assert set(jobs()) - before == begun
    assert len(begun) == 4
    done = core_fakes.executed(own_home, "begin")
    assert len(done) == len(set(done)) == 9
    assert not list((own_home / "drives").iterdir())


def begins(job: str) -> bool:
    """Whether a requeued job runs again; it need not wait its two minutes."""
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True)
    return state(job) == "RUNNING"


def state(job: str) -> str:
    (line,) = told("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")
    return line


@pytest.mark.parametrize("where", ["devices", "nodes"])
def test_tasks_of_a_job_do_a_step_together(
    tmp_path: Path, fakes: Mapping[str, str], where: str
) -> None:
    changes = ["explore.rounds=1", "seeds=[0]", f"infra.{where}=2", "infra.slurm.cpus=2"]
    study = load_study("micro/smoke", [*changes, "base.recipe.prealign=null"])
    kinds = ("pretrain", "finetune")
    on_slurm(study, tmp_path, {**fakes, **dict.fromkeys(kinds, "core_fakes:together")})
    found = [json.loads(path.read_text()) for path in tmp_path.glob("store/*/*/record.json")]
    assert {record["kind"] for record in found} == {*kinds, "evaluate"}
    for record in found:
        if record["kind"] in kinds:
            assert [one[0] for one in record["result"]["there"]] == [0, 1]
            assert record["devices"] == 2
