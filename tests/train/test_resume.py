"""A step killed at any moment and run again ends as if nothing had happened."""

import errno
import json
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rank_toys import Job
from training_toys import Make, assert_same, own_data, weights

from ablate.data.bad import ErrorBudget
from ablate.data.dataset import BadImage
from ablate.model import language
from ablate.model.mllm import Mllm
from ablate.train import checkpoint, stage
from ablate.train.callbacks import BadImages
from ablate.train.stage import train
from ablate.worker.context import StepContext
from ablate.worker.process_group import StepRanks

EVENTS = [
    (Mllm, "forward"),
    (StepContext, "log"),
    (StepContext, "truncate_log"),
    (checkpoint.CheckpointWriter, "save"),
    (checkpoint, "commit"),
    (checkpoint, "save_file"),
    (Path, "replace"),
    (torch.optim.AdamW, "step"),
    (stage, "save_parts"),
    (stage.shutil, "rmtree"),
]
"""Functions before and after which a signal may come."""


@dataclass(frozen=True)
class Signal:
    """Prepares processes of which number `task` gets a signal at its event number `moment`.

    The states that are saved, but for one that was hardly there at the signal, stay in `kept`.
    """

    kept: Path
    task: int = 0
    moment: int = 10**9
    number: signal.Signals = signal.SIGKILL

    def __call__(self, task: int) -> None:
        happened = iter(range(1, self.moment))

        def event() -> None:
            if task == self.task and next(happened, None) is None:
                os.kill(os.getpid(), self.number)

        for owner, name in EVENTS:
            setattr(owner, name, _between(event, getattr(owner, name)))
        commit = checkpoint.commit

        def keep(folder: Path, step: int) -> None:
            commit(folder, step)
            draft, whole = self.kept / f"{step}.{os.getpid()}", self.kept / str(step)
            shutil.copytree(folder / str(step), draft)  # which may be killed in the middle
            shutil.rmtree(whole, ignore_errors=True)
            draft.replace(whole)

        checkpoint.commit = keep


def _between(event: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        event()
        result = function(*args, **options)
        event()
        return result

    return wrapped


@pytest.mark.parametrize(
    ("tasks", "seed", "broken_images"),
    [
        pytest.param(1, 0, False, marks=pytest.mark.slow),
        pytest.param(1, 1, False, marks=pytest.mark.slow),
        (1, 2, True),
        pytest.param(2, 3, False, marks=pytest.mark.slow),
        pytest.param(2, 4, True, marks=pytest.mark.slow),
    ],
)
def test_stopped_at_random_moments_it_ends_with_the_same_weights_moments_and_metrics(
    make_context: Make, tmp_path: Path, tasks: int, seed: int, broken_images: bool
) -> None:
    settings: dict[str, Any] = {
        "steps": 7,
        "batch_size": 5,  # of 12 samples: checkpoints fall in the middle of epochs
        "train": {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3},
        "warm_projector": 3,
    }
    if broken_images:
        settings["data"] = own_data(tmp_path, broken=(1, 4), max_bad=2)
        settings["group_by_length"] = True
    infra = {"checkpoint_every_steps": 2, "micro_batch_size": 2}  # of a step: 3 parts, of 2: 2
    context = make_context(**settings)
    calm = Job(context, tmp_path / "calm", tasks, infra, Signal(tmp_path / "a")).done()

    job = Job(context, tmp_path / "stopped", tasks, infra)
    chance, stops = random.Random(seed), 0
    while True:
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        victim, moment = chance.randrange(tasks), chance.randint(12, 50)
        outcome = job.with_(prepare=Signal(tmp_path / "b", victim, moment, number)).run()
        if outcome.status == "done":
            break
        assert outcome.status == "lost", outcome
        stops += 1
        assert stops < 100
    assert stops >= 2
    assert (job.artifact / "metrics.jsonl").read_bytes() == (
        calm.artifact / "metrics.jsonl"
    ).read_bytes()
    assert_same(weights(job.artifact), weights(calm.artifact))
    kept = sorted(path.name for path in (tmp_path / "b").iterdir() if path.name.isdecimal())
    assert kept
    for step in kept:  # weights and moments, before the end
        assert_same(weights(tmp_path / "b" / step), weights(tmp_path / "a" / step))
    assert sorted(p.name for p in job.artifact.iterdir()) == sorted(
        p.name for p in calm.artifact.iterdir()
    )
    if broken_images:
        found = [(one.artifact / "bad-images.jsonl").read_bytes() for one in (job, calm)]
        assert found[0] == found[1]


def test_a_kill_while_a_state_is_written_costs_that_state_alone(
    make_context: Make, tmp_path: Path
) -> None:
    """Training is a step further by then: it did not wait for the disk."""

    def prepare(task: int) -> None:
        write, log, ahead = checkpoint._write_share, StepContext.log, threading.Event()

        def cut(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
            if path.parent.name != "4.partial":
                return write(path, tensors)
            path.with_suffix(".partial").write_bytes(b"half of")
            assert ahead.wait(240)
            os.kill(os.getpid(), signal.SIGKILL)

        def logged(context: StepContext, row: dict[str, Any]) -> None:
            log(context, row)
            if row["step"] == 5:
                ahead.set()

        checkpoint._write_share, StepContext.log = cut, logged  # type: ignore[method-assign]

    context = make_context(steps=7)
    infra = {"checkpoint_every_steps": 2}
    calm = Job(context, tmp_path / "calm", 1, infra).done()
    job = Job(context, tmp_path / "killed", 1, infra)
    assert job.with_(prepare=prepare).run().status == "lost"
    assert [row["step"] for row in job.rows(job.work)] == [1, 2, 3, 4, 5]
    assert checkpoint.step_of(job.work / checkpoint.FOLDER) == 2
    job.done()
    assert_same(weights(job.artifact), weights(calm.artifact))
    assert job.rows() == calm.rows()


def test_what_is_due_by_the_clock_waits_for_the_state_that_is_being_written(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context(steps=6, infra={"checkpoint_every_minutes": 1e-9})
    write, commit, log = checkpoint._write_share, checkpoint.commit, ctx.log
    ahead, states = threading.Event(), list[int]()

    def late(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
        assert ahead.wait(240)
        write(path, tensors)

    def logged(row: dict[str, Any]) -> None:
        log(row)
        if row["step"] == 4:
            ahead.set()

    def kept(folder: Path, step: int) -> None:
        commit(folder, step)
        states.append(step)

    monkeypatch.setattr(checkpoint, "_write_share", late)
    monkeypatch.setattr(checkpoint, "commit", kept)
    monkeypatch.setattr(ctx, "log", logged)
    train(ctx)
    assert states[0] == 1
    assert not {2, 3} & set(states)


def test_a_state_that_cannot_be_written_ends_the_step_with_the_reason(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write_share", full)
    with pytest.raises(OSError, match="No space left"):
        train(make_context(steps=6, infra={"checkpoint_every_steps": 2}))


def test_a_step_that_ended_but_was_not_committed_may_run_again(make_context: Make) -> None:
    ctx = make_context()
    train(ctx)
    before, rows = weights(ctx.work), ctx.rows()
    train(ctx)
    assert_same(weights(ctx.work), before)
    assert ctx.rows() == rows


def test_a_checkpoint_the_disk_has_damaged_costs_time_only(make_context: Make) -> None:
    ctx = make_context(steps=2)
    state = ctx.work / "checkpoint" / "1" / "0.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"\x00" * 100)
    train(ctx)
    assert [row["step"] for row in ctx.rows()] == [1, 2]


def test_what_a_checkpoint_holds_is_read_nowhere_else(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = {"projector": 2e-3, "fusion": 1e-3, "llm": 1e-3, "encoders": 1e-3}
    whole = make_context("whole", train=learning)
    train(whole)
    ctx = make_context("stopped", train=learning, infra={"checkpoint_every_steps": 2})
    with monkeypatch.context() as during:
        during.setattr(ctx, "log", lambda metrics: 1 // (4 - metrics["step"]))
        with pytest.raises(ZeroDivisionError):
            train(ctx)
    monkeypatch.setattr(language.AutoModelForCausalLM, "from_pretrained", None)
    train(ctx)
    assert [row["step"] for row in ctx.rows()] == [3, 4, 5, 6]  # after the checkpoint of step 2
    assert_same(weights(ctx.work), weights(whole.work))


def test_cutting_the_batch_differently_after_a_kill_keeps_the_order_of_samples(
    make_context: Make, llm_without_dropout: None
) -> None:
    whole = make_context("whole")
    train(whole)
    moved = make_context("moved", infra={"checkpoint_every_steps": 2})

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    log, moved.log = moved.log, lambda m: die() if m["step"] == 4 else log(m)  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        train(moved)
    moved.log = log  # type: ignore[method-assign]
    moved.infra["micro_batch_size"] = 3
    train(moved)
    for row, expected in zip(moved.rows(), whole.rows(), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_a_row_of_a_bad_image_that_a_kill_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    path, (first, second) = tmp_path / "bad.jsonl", (BadImage("talks", n, "why") for n in (1, 2))
    path.write_text(json.dumps(first) + "\n" + json.dumps(second)[:9])
    for attempt in range(2):
        budget = ErrorBudget("talks", allowed=5)
        callback: Any = BadImages(path, {"talks": budget}, StepRanks())
        assert budget.bad == 1 + attempt
        callback.on_train_batch_start(None, None, SimpleNamespace(bad=[second]), 0)
        callback.on_before_optimizer_step()
        assert budget.bad == 2
