"""A step killed at any moment and run again ends as if nothing had happened."""

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toys import Context, Make, assert_same, own_data, weights

from ablate.files import clear_drafts
from ablate.model.mllm import Mllm
from ablate.train import checkpoint, stage
from ablate.train.stage import train

EVENTS = [
    (Mllm, "forward"),
    (Context, "log"),
    (Context, "truncate_log"),
    (checkpoint, "save"),
    (checkpoint, "save_file"),
    (Path, "replace"),
    (torch.optim.AdamW, "step"),
    (stage, "save_parts"),
    (stage.shutil, "rmtree"),
]
"""Functions before and after which a kill may come."""


def attempt(ctx: Context, last_event: int) -> bool:
    """Train in a process of its own that dies at event number `last_event`; whether it ended."""
    child = os.fork()
    if child == 0:
        ended = False
        try:
            torch.set_num_threads(1)  # the parent's threads are not there after a fork
            happened = iter(range(1, last_event))

            def event() -> None:
                if next(happened, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            for owner, name in EVENTS:
                setattr(owner, name, _between(event, getattr(owner, name)))
            clear_drafts(ctx.work)  # as the worker does
            train(ctx)
            ended = True
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(0 if ended else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, -signal.SIGKILL}
    return code == 0


def _between(event: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        event()
        result = function(*args, **options)
        event()
        return result

    return wrapped


@pytest.mark.parametrize(("seed", "broken_images"), [(0, False), (1, False), (2, True)])
def test_killed_at_random_moments_it_ends_with_the_same_weights_and_metrics(
    make_context: Make, tmp_path: Path, seed: int, broken_images: bool
) -> None:
    settings: dict[str, Any] = {
        "steps": 7,
        "batch_size": 5,  # of 12 samples: checkpoints fall in the middle of epochs
        "train": {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3},
        "warm_projector": 3,
        "infra": {"checkpoint_every_steps": 2, "micro_batch_size": 2},
    }
    if broken_images:
        settings["data"] = own_data(tmp_path, broken=(1, 4), max_bad=2)
        settings["group_by_length"] = True
    undisturbed, killed = (
        make_context("undisturbed", **settings),
        make_context("killed", **settings),
    )
    assert attempt(undisturbed, last_event=10**9)

    moments, kills = random.Random(seed), 0
    while not attempt(killed, moments.randint(12, 50)):
        kills += 1
        assert kills < 100
    assert kills >= 2
    assert killed.journal.read_bytes() == undisturbed.journal.read_bytes()
    assert_same(weights(killed.work), weights(undisturbed.work))
    assert sorted(p.name for p in killed.work.iterdir()) == sorted(
        p.name for p in undisturbed.work.iterdir()
    )
    if broken_images:
        found = [(ctx.work / "bad-images.jsonl").read_bytes() for ctx in (killed, undisturbed)]
        assert found[0] == found[1]


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
