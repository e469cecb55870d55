"""Several devices do what one does, up to the order in which floats are added up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_toys import Job
from training_toys import Make, own_data, weights

LEARNING = {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3}
SETTINGS: dict[str, Any] = {
    "steps": 7,
    "batch_size": 5,  # 2 processes have 3 and 2 samples, of 4 the last has none in a part
    "train": LEARNING,
    "warm_projector": 2,
    "group_by_length": True,
}
MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(make_context: Make, tmp_path: Path) -> MakeJob:
    """Jobs by name; `tasks` processes, and what `infra` and the stage are to have else."""

    def make(name: str, tasks: int = 1, infra: dict[str, Any] | None = None, **stage: Any) -> Job:
        ctx = make_context(f"{name}-context", **{**SETTINGS, **stage})
        return Job(ctx, tmp_path / name, tasks, {"micro_batch_size": 2, **(infra or {})})

    return make


def with_text(folder: Path) -> dict[str, Any]:
    """Six rows with an image and nine of text alone."""
    source = own_data(folder, broken=())
    said = [("human", "how many are there"), ("gpt", "three")]
    turns = [{"from": who, "value": value} for who, value in said]
    (folder / "text.json").write_text(json.dumps([{"conversations": turns}] * 9))
    text = {"conversations": str(folder / "text.json")}
    return {"mix": {"own": source, "text": text}, "canvas": 32}


def assert_close(job: Job, other: Job) -> None:
    """The same loss curve and weights within what float32 sums in another order make."""
    for row, expected in zip(job.rows(), other.rows(), strict=True):
        assert (row["step"], row["tokens"]) == (expected["step"], expected["tokens"])
        assert row["loss"] == pytest.approx(expected["loss"], rel=2e-5)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
        assert row["lr"] == expected["lr"]
    left, right = weights(job.artifact), weights(other.artifact)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        # Adam makes of a gradient near 0 a step of up to the learning rate, whatever its sign.
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=2e-4, msg=name)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize(("strategy", "tasks"), [("ddp", 2), ("fsdp", 2), ("ddp", 4), ("fsdp", 3)])
def test_several_processes_do_the_steps_of_one(
    make_job: MakeJob, tmp_path: Path, strategy: str, tasks: int
) -> None:
    data = with_text(tmp_path)
    alone = make_job("alone", data=data).done()
    shared = make_job("shared", tasks, {"strategy": strategy}, data=data).done()
    assert_close(shared, alone)
