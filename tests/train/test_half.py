"""Training in bfloat16, on a GPU where there is one: it learns, and goes on where it was killed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from training_toys import Make, train_apart, weights

from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.train.stage import train

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_learns_and_keeps_whole_weights(make_context: Make, device: str) -> None:
    learning = {"projector": 5e-3, "llm": 5e-3}
    ctx = make_context(precision="bf16", steps=20, train=learning, device=device)
    train(ctx)
    assert ctx.rows()[-1]["loss"] < ctx.rows()[0]["loss"] - 0.3
    assert all(tensor.dtype == torch.float32 for tensor in weights(ctx.work).values())


@pytest.mark.parametrize("device", DEVICES)
def test_in_half_precision_a_killed_run_follows_the_undisturbed_one(
    make_context: Make, device: str
) -> None:
    settings: dict[str, Any] = {"precision": "bf16", "steps": 12, "device": device}
    settings["infra"] = {"checkpoint_every_steps": 3, "micro_batch_size": 2}
    calm, killed = make_context("calm", **settings), make_context("killed", **settings)
    train(calm)
    assert train_apart(killed, last=8) == -9
    train(killed)
    # On a GPU sums are added up in the order in which threads come.
    tolerance = 0.0 if device == "cpu" else 0.02
    for row, expected in zip(killed.rows(), calm.rows(), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=tolerance, abs=0)


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_gpus_do_a_study(tmp_path: Path, strategy: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    changes = ["infra.device=cuda", "infra.devices=2", f"infra.strategy={strategy}", "seeds=[0]"]
    (turn,) = drive(load_study("micro/smoke", changes), 1, "local", home=tmp_path)
    assert turn.decision
