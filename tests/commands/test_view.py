"""What is shown while a study runs: lines where there is no terminal, else a picture of it."""

import io
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_process import ablate
from rich.console import Console

from ablate.commands import drivers_and_jobs as queue
from ablate.commands import status, status_text
from ablate.commands.drivers_and_jobs import ClusterJobs, QueuePoller
from ablate.commands.live_view import LiveView, watching
from ablate.commands.study_status import StatusReader, StudyStatus, read_status
from ablate.config.study import Study, load_study
from ablate.driver.events import Event
from ablate.driver.invocation import Invocation, LastRun
from ablate.driver.scheduler import drive
from ablate.files import write_atomic, write_json
from ablate.launch.slurm.arrays import Array
from ablate.store.artifacts import Store
from ablate.store.lease import Watch
from ablate.store.process import Process
from ablate.worker.context import StepContext

TASKS = ("abl_gqa", "abl_ocr")


def stage(context: StepContext) -> dict[str, Any]:
    context.progress(1, 2, "half way")
    if "sam-micro" in context.work.name and context.step_kind == "finetune":
        raise ValueError("no luck\nwith this one")
    return {}


def evaluate(context: StepContext) -> dict[str, Any]:
    rows = '{"task": "abl_gqa", "id": "1", "image": "a", "score": 1.0, "weight": 1.0}\n'
    write_atomic(context.work / "answers.jsonl", rows)
    value = 10.0 * len(context.work.name.split("+"))
    scores = {task: {"metric": "exact_match", "value": value, "n": 1} for task in TASKS}
    return {"scores": scores, "composite": value}


EXECUTORS = {"prealign": stage, "pretrain": stage, "finetune": stage, "evaluate": evaluate}


@pytest.fixture
def study() -> Study:
    return load_study("micro/rounds", ["explore.pool=[pix2struct-micro, sam-micro]"])


def run(study: Study, home: Path) -> StudyStatus:
    """Run two rounds with executors that do nothing."""
    store = Store(home)
    with watching(StatusReader(study, store, 2), Invocation(study.name, last=2)) as on_event:
        drive(study, 2, "inline", home=home, on_event=on_event, executors=EXECUTORS)
    return read_status(study, store, 2)


def picture(study: Study, home: Path, events: Sequence[Event] = (), last: int | None = 2) -> str:
    command = Invocation(study.name, backend="slurm")
    scene = LiveView(StatusReader(study, Store(home), last), QueuePoller(home, study.name), command)
    for event in events:
        scene.on_event(event)
    console = Console(file=io.StringIO(), width=120)
    console.print(scene.draw())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_without_a_terminal_each_event_is_a_line(
    study: Study, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(study, own_home)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == ""
    total = len(found.steps)
    assert lines[0] == f"[0/{total}] started   prealign clip-micro@32"
    assert any(line.startswith(f"[1/{total}] done      prealign clip-micro@32 (") for line in lines)
    assert any("failed    finetune" in line and "no luck with this one" in line for line in lines)
    assert any(
        "round 2: goes on with clip-micro@32+pix2struct-micro@128, 20.0" in one for one in lines
    )


def test_the_picture_shows_scores_winner_and_failure(study: Study, own_home: Path) -> None:
    found = run(study, own_home)
    failed = next(step for step in found.steps if found.standings[step.key].state == "failed")
    events = [Event("lost", failed, "its process died"), Event("stopped", failed, "preempted")]
    text = picture(study, own_home, events)
    assert "round 1  clip-micro@32" in text
    assert text.count("winner") == 2
    assert "20.0" in text
    assert "failed: finetune clip-micro@32+sam-micro@128.channel_concat: no luck" in text
    assert f"`ablate logs {failed.key[:12]}` says more, " in text
    assert "`ablate retry micro/rounds --backend slurm` tries it again" in text
    assert "lost      finetune clip-micro@32+sam-micro@128.channel_concat: its process died" in text
    assert "stopped   finetune clip-micro@32+sam-micro@128.channel_concat: preempted" in text


def test_the_picture_shows_what_is_at_work_and_what_is_not_known(
    study: Study, own_home: Path
) -> None:
    store = Store(own_home)
    found = read_status(study, store)
    lease = Watch().take(store.leases(found.steps[0]))
    assert lease is not None
    lease.done, lease.total, lease.note = 3, 4, "loss 2.1"
    lease.release()
    lease = Watch().take(store.leases(found.steps[0]))
    assert lease is not None
    lease.done, lease.total, lease.note = 3, 4, "loss 2.1"
    lease._write()
    text = picture(study, own_home, last=None)
    assert "prealign  clip-micro@32" in text
    assert "loss 2.1" in text
    assert "round 3  not known yet" in text
    lease.release()


def test_names_are_never_markup(own_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    arm = "{name: '[bold]x[/nothing]', set: {}}"
    path.write_text(f"extends: micro/base\nexplore: {{kind: arms, axis: none, arms: [{arm}]}}\n")
    text = picture(load_study(str(path), ["title=a", "question=b"]), own_home, last=None)
    assert "[bold]x[/nothing]" in text


def test_status_says_score_failure_and_decision(study: Study, own_home: Path) -> None:
    found = run(study, own_home)
    rounds = status.as_data(found, ClusterJobs())["rounds"]
    assert rounds[1]["decision"]["winner"] == "clip-micro@32+pix2struct-micro@128"
    second = {one["name"]: one for one in rounds[1]["candidates"]}
    assert second["clip-micro@32+pix2struct-micro@128"]["score"] == 20.0
    assert second["clip-micro@32+sam-micro@128"]["state"] == "failed"
    reason = "finetune clip-micro@32+sam-micro@128.channel_concat: no luck with this one"
    assert second["clip-micro@32+sam-micro@128"]["failure"] == reason
    assert f"failed: {reason}" in status_text.as_text(found, ClusterJobs(), Invocation(study.name))


def test_watching_prints_once_more_at_each_move_and_ends_with_the_study(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "LOOK", 0.02)
    study = load_study("micro/smoke")
    run = {"backend": "inline", "home": own_home, "executors": EXECUTORS}
    driver = threading.Timer(0.2, drive, [study], run)
    driver.start()
    status.watch("micro/smoke", [], as_json=True)
    driver.join()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["complete"] for one in told] == [False] * (len(told) - 1) + [True]
    assert {one["state"] for one in told[0]["steps"]} == {"waiting"}
    assert {one["state"] for one in told[-1]["steps"]} == {"done"}
    done = [sum(one["state"] == "done" for one in move["steps"]) for move in told]
    assert done == sorted(done)
    status.watch("micro/smoke", [], as_json=False)
    text = capsys.readouterr().out
    assert "12 of 12 steps done" in text
    assert "\x1b" not in text


def test_ctrl_c_ends_watching_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=interrupted))
    answer = ablate("status", "-w", "micro/smoke")
    assert answer.code == 130
    assert "0 of 12 steps done; nothing works on it: `ablate run" in answer.out


@pytest.fixture
def queued(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver of the study with a job that waits; the squeue that says so."""
    folder = own_home / "drives" / "abc"
    mine = {"study": "micro/smoke", "process": asdict(Process.this())}
    write_json(folder / "driver.json", mine)
    assert Watch().take(folder / "lease")
    keys = [step.key for step in read_status(load_study("micro/smoke"), Store(own_home)).steps]
    Array(folder / "array-1", [[keys[0]], [keys[1]], [keys[2]]], "41").save()
    script = tmp_path / "squeue"
    lines = ["0|me|RUNNING|None", "1|me|PENDING|Resources", "2|me|PENDING|Resources"]
    script.write_text("#!/bin/sh\n" + "".join(f"echo '41_{line}'\n" for line in lines))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return script


def test_jobs_that_wait_are_shown_with_slurms_reason_in_words(
    queued: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "2 nodes are busy (Resources): pretrain clip-micro@32.channel_concat, "
    assert f"in the queue: {said}" in picture(load_study("micro/smoke"), own_home)
    status.show("micro/smoke", [], as_json=False)
    text = capsys.readouterr().out
    assert f"IN THE QUEUE\n{said}" in text
    assert "nothing works on it" not in text
    status.show("micro/smoke", [], as_json=True)
    waits = json.loads(capsys.readouterr().out)["queue"]
    assert [(one["job"], one["reason"]) for one in waits] == [
        ("41_1", "Resources"),
        ("41_2", "Resources"),
    ]


def test_a_job_that_runs_but_has_begun_no_step_is_starting(
    queued: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load_study("micro/smoke")
    assert "starting: prealign clip-micro@32\n" in picture(study, own_home, last=None)
    status.show("micro/smoke", [], as_json=True)
    (one,) = json.loads(capsys.readouterr().out)["starting"]
    store = Store(own_home)
    first = read_status(study, store).steps[0]
    assert one == {"job": "41_0", "step": first.key}
    assert Watch().take(store.leases(first))
    assert "starting: " not in picture(study, own_home, last=None)


def test_drivers_are_named_dead_ones_with_how_to_take_over(
    queued: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = replace(Process.this(), born="0", host="login1")
    for name, process, job in ("dead", gone, None), ("job", gone, "50"), ("ended", gone, "51"):
        folder = own_home / "drives" / name
        driven = {"study": "micro/smoke", "process": asdict(process), "backend": "slurm"}
        write_json(folder / "driver.json", driven)
        if job:
            write_json(folder / "driver-job.json", job)
    queued.write_text("#!/bin/sh\necho '50|me|PENDING|Priority'\n")
    LastRun("slurm", 2, detached=False).write(own_home, "micro/smoke")
    status.show("micro/smoke", ["infra.device=cpu"], as_json=False)
    said = capsys.readouterr().out
    again = "`ablate run micro/smoke --set infra.device=cpu --backend slurm --jobs 2`"
    me = Process.this()
    assert f"driver: process {me.pid} on {me.host}\n" in said
    takes = f"process {me.pid} on login1 is gone; {again} takes over what it left\n"
    assert f"driver: {takes}" in said
    waits = "job 50 waits in the queue: others in the queue go first (Priority)"
    assert f"driver: {waits}\n" in said
    assert f"driver: job 51 is gone; {again} takes over what it left; what it printed: " in said
    assert "IN THE QUEUE" not in said
    status.show("micro/smoke", [], as_json=True)
    found = json.loads(capsys.readouterr().out)["drivers"]
    assert [one["state"] for one in found] == ["alive", "gone", "gone", "queued"]


def test_on_a_cluster_a_chain_is_submitted_and_its_steps_start_one_by_one(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, store = load_study("micro/smoke"), Store(own_home)
    first, second = read_status(study, store).steps[:2]
    for backend, word in ("slurm", "submitted"), ("local", "started"):
        eye, command = StatusReader(study, store), Invocation(study.name, backend=backend)
        with watching(eye, command) as on_event:
            on_event(Event("submitted", first))
            on_event(Event("started", second))
        words = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
        assert words == [word, "started"]


@pytest.mark.parametrize("script", ["sleep 60", "exit 1", "echo what?"])
def test_a_slurm_that_does_not_answer_keeps_nobody_waiting(
    queued: Path, own_home: Path, script: str
) -> None:
    queued.write_text(f"#!/bin/sh\nexec {script}\n")
    work = queue.at_hand(own_home, "micro/smoke", Watch(), 0.2)
    assert [one.state for one in work.drivers] == ["alive"]
    assert work.jobs == ()


def test_of_many_candidates_those_that_matter_are_shown(own_home: Path) -> None:
    study = load_study("micro/rounds", ["explore.rounds=1", f"seeds={list(range(40))}"])
    text = picture(study, own_home, last=None)
    assert "round 1  and 40 waiting" in text
    assert len(text.splitlines()) < 10


def test_an_owner_elsewhere_that_shows_no_life_works_no_more(study: Study, own_home: Path) -> None:
    store = Store(own_home)
    step = read_status(study, store).steps[0]
    lease = Watch().take(store.leases(step))
    assert lease is not None
    lease.owner = replace(lease.owner, machine="another", host="node7")
    lease._write()
    store.watch.patience = 0.1
    eye = StatusReader(study, store)
    assert [one.key for one in eye.look().at_work] == [step.key]
    time.sleep(0.2)
    assert eye.look().at_work == []


def test_time_left_is_judged_by_finished_steps_of_the_same_kind(
    study: Study, own_home: Path
) -> None:
    assert read_status(study, Store(own_home)).seconds_left() is None
    run(study, own_home)
    left = read_status(study, Store(own_home), 2).seconds_left()
    assert left is not None
    assert 0 <= left < 5
