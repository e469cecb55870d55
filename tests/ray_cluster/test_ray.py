"""A study on a real Ray: whatever happens to it, its results are those of this machine alone."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import core_fakes
import pytest
import ray_fakes
from in_process import ablate
from local_ray import LocalRay

from ablate.commands import doctor
from ablate.config.infra import Infra
from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.files import read_json
from ablate.launch.backends import open_backend
from ablate.launch.ray import jobs
from ablate.launch.registry import launcher
from ablate.store.lease import look
from ablate.store.steps import Step

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def until(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def at_work(home: Path) -> dict[str, int]:
    """The processes that hold a lease now, by their steps."""
    found = {}
    for folder in home.glob("leases/*/*"):
        holding = look(folder)
        if holding and holding.owner and not holding.released and holding.owner.runs():
            found[f"{folder.parent.name} {folder.name}"] = holding.owner.pid
    return found


def results(home: Path) -> dict[str, Any]:
    """Every decision, and the checksum of every file of an artifact but its record."""
    decided = {path.name: read_json(path) for path in home.glob("studies/**/decisions/*")}
    files = {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.glob("store/*/*/*")
        if path.is_file() and path.name not in ("record.json", "manifest.json")
    }
    return decided | files


class Driver:
    """A process that drives the study on Ray, as `ray_fakes` does."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.printed = home / f"driver-{time.monotonic_ns()}.txt"
        with self.printed.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, ray_fakes.__file__, str(home)],
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=60)

    def runs(self) -> bool:
        code = self.process.poll()
        assert code in (None, 0), f"a driver ended with {code}:\n{self.printed.read_text()}"
        return code is None


@pytest.fixture
def driven(cluster: LocalRay, own_home: Path) -> Iterator[list[Driver]]:
    """The drivers of a test, which end with it."""
    drivers: list[Driver] = []
    yield drivers
    for one in drivers:
        if one.process.poll() is None:
            one.kill()


def test_chaos_changes_nothing(
    cluster: LocalRay,
    driven: list[Driver],
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = tmp_path / "alone"
    study, fakes = load_study("micro/smoke", ray_fakes.CHANGES), core_fakes.EXECUTORS
    drive(study, backend="local", jobs=2, home=alone, executors=fakes)
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    faults = ["driver", "worker", "raylet", "driver"]
    random.Random(seed).shuffle(faults)
    monkeypatch.setenv("FAKE_SECONDS", "3")
    driven.append(Driver(own_home))
    hit: set[str] = set()
    while driven[-1].runs():
        working = {step: pid for step, pid in at_work(own_home).items() if step not in hit}
        if faults and working:
            fault, (step, pid) = faults.pop(), next(iter(working.items()))
            hit.add(step)
            print(f"{fault} killed at {step}", flush=True)
            if fault == "driver":
                driven.pop().kill()
                driven.append(Driver(own_home))
            elif fault == "worker":
                os.kill(pid, signal.SIGKILL)
            else:
                node = cluster.node_of(pid)
                cluster.kill_raylet(node)
                until(lambda pid=pid: pid not in at_work(own_home).values())
                cluster.start_node(node)
        time.sleep(0.2)
    assert not faults
    assert results(own_home) == results(alone)
    ended = core_fakes.executed(own_home)
    assert len(ended) == len(set(ended)) == 12  # none was done twice
    for folder in ("work", "leases", "failed", "drives"):
        assert [path for path in own_home.glob(f"{folder}/**/*") if path.is_file()] == []


def test_what_works_on_a_study_is_shown_and_ended(
    cluster: LocalRay,
    driven: list[Driver],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "600")
    driven.append(Driver(own_home))
    sets = ["--set", ray_fakes.CHANGES[0]]
    pids = until(lambda: list(at_work(own_home).values()))
    driven.pop().kill()  # its jobs do not mind
    found = json.loads(ablate("status", "micro/smoke", *sets, "--json").out)
    assert [one["state"] for one in found["drivers"]] == ["gone"]
    running = [one["key"] for one in found["steps"] if one["state"] == "running"]
    assert running  # one, or two where the first look came late
    assert ablate("logs", running[0][:12]).code == 0
    answer = ablate("cancel", "micro/smoke", *sets)
    assert answer.code == 0, answer
    assert "ended job of micro/smoke" in answer.out
    until(lambda: not at_work(own_home))
    assert not any(Path(f"/proc/{pid}/environ").exists() for pid in pids)
    assert not list((own_home / "drives").iterdir())


def test_all_processes_of_a_job_do_a_step(
    cluster: LocalRay, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ASK", 1.0)
    study = load_study("micro/smoke", [*ray_fakes.CHANGES, "infra.devices=2", "explore.rounds=1"])
    shared = dict.fromkeys(("prealign", "pretrain", "finetune", "evaluate"), "core_fakes:together")
    backend = open_backend("ray", 1, own_home, own_home / "drives" / "d", study.infra, shared)
    step = Step("prealign", "one", {"model": {"encoders": []}, "seed": 0})
    (job,) = backend.start([[step]])
    assert job
    outcome = until(job.poll)
    assert outcome.status == "done", outcome
    (record,) = own_home.glob("store/prealign/*/record.json")
    there = read_json(record)["result"]["there"]
    assert [one[0] for one in there] == [0, 1]
    assert backend.close()


def leave_word(path: str) -> None:
    """What a driver does in this test."""
    print("at the wheel", flush=True)
    Path(path).write_text(os.environ["ABLATE_JOB"], encoding="utf-8")


def test_a_driver_may_be_a_job_that_prints_where_its_user_is_told(
    cluster: LocalRay, own_home: Path
) -> None:
    ray, drive_folder, logs = launcher("ray"), own_home / "drives" / "abc", own_home / "logs"
    logs.mkdir(parents=True)
    drive_folder.mkdir(parents=True)
    call = partial(leave_word, str(own_home / "word"))
    number = ray.submit_driver(Infra(device="cpu"), drive_folder, logs, call)
    until((own_home / "word").exists)
    assert (own_home / "word").read_text() == number == "ablate-abc-driver"
    queue = ray.submissions(drive_folder)

    def gone() -> bool:
        known = queue.ask([number])
        return known is not None and not known[number].alive

    until(gone)
    assert "at the wheel" in ray.driver_log(logs, number).read_text()


def test_the_doctor_finds_a_cluster_that_runs_jobs(cluster: LocalRay, own_home: Path) -> None:
    found = {one.check: one for one in doctor.examine_jobs("ray", "micro/smoke", ["seeds=[0]"])}
    assert [one for one in found.values() if one.status == "problem"] == []
    assert {"cluster", "shared folder", "clocks"} <= set(found)
    assert not list(own_home.glob("doctor-*"))


def test_the_doctor_says_what_a_study_would_lack(cluster: LocalRay, own_home: Path) -> None:
    sets = ["seeds=[0]", "infra.ray.python=[/nope/python]"]
    found: Mapping[str, Any] = {
        one.check: one for one in doctor.examine_jobs("ray", "micro/smoke", sets)
    }
    assert found["job"].status == "problem"
    assert "/nope/python" in found["job"].found
    assert not list(own_home.glob("doctor-*"))
