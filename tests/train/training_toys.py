"""A stage's settings, and a context as `ablate.worker.run` would give it."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from ablate.store.steps import Step
from ablate.worker.process_group import StepRanks

STAGE = {
    "steps": 6,
    "epochs": None,
    "batch_size": 4,
    "train": {"projector": 2e-3, "llm": 1e-3},
    "weight_decay": 0.01,
    "warmup": 0.2,
    "schedule": "cosine",
    "clip": 1.0,
    "max_length": 512,
    "precision": "auto",
    "warm_projector": 0,
    "group_by_length": False,
}


@dataclass
class Context:
    """What `ablate.worker.run` gives an executor, with a log that lies in `work`."""

    step_kind: str
    spec: dict[str, Any]
    work: Path
    home: Path
    parents: dict[str, Path] = field(default_factory=dict)
    infra: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    world: StepRanks = field(default_factory=StepRanks)
    drive: Path = Path("no-driver")
    slug: str = "toy"
    annotated: dict[str, Path] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        return self.step_kind

    @property
    def key(self) -> str:
        return Step(self.step_kind, self.slug, self.spec).key

    def logged(self) -> list[dict[str, Any]]:
        return self.rows() if self.journal.is_file() else []

    @property
    def prefix(self) -> Path:
        return self.home / "prefixes" / Step(self.step_kind, "step", self.spec).whole.dirname

    @property
    def journal(self) -> Path:
        return self.work / "metrics.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def progress(self, done: int, total: int, note: str = "") -> None:
        assert 0 <= done <= total

    def log(self, metrics: dict[str, Any]) -> None:
        with self.journal.open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def truncate_log(self, step: int) -> None:
        rows = self.journal.read_text().splitlines() if self.journal.is_file() else []
        kept = [row for row in rows if json.loads(row)["step"] <= step]
        self.journal.write_text("".join(f"{row}\n" for row in kept))

    def commit(self) -> Path:
        """The work folder as the store would keep it."""
        (self.work / "spec.json").write_text(json.dumps({"spec": self.spec}))
        return self.work


Make = Callable[..., Context]


def train_apart(ctx: Context, last: int) -> int:
    """Train in a process of its own, which is killed after step `last`; its exit code."""
    way = "spawn" if torch.cuda.is_available() else "fork"  # CUDA does not outlive a fork
    process = get_context(way).Process(target=_train, args=(ctx, last))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _train(ctx: Context, last: int) -> None:
    from ablate.train.stage import train

    log = ctx.log

    def deadly(metrics: dict[str, Any]) -> None:
        log(metrics)
        if metrics["step"] == last:
            os.kill(os.getpid(), signal.SIGKILL)

    ctx.log = deadly  # type: ignore[method-assign]
    train(ctx)


def own_data(folder: Path, broken: tuple[int, ...], **fields: Any) -> dict[str, Any]:
    """A source of six rows with an image each, of which some are broken."""
    rows = []
    (folder / "photos").mkdir(exist_ok=True)
    for number in range(6):
        name = f"{number}.png"
        Image.new("RGB", (64, 64), (9 * number, 0, 0)).save(folder / "photos" / name)
        if number in broken:
            (folder / "photos" / name).write_bytes(b"no image")
        said = [("human", f"<image>\nwhat number is this {number}"), ("gpt", str(number))]
        turns = [{"from": who, "value": value} for who, value in said]
        rows.append({"id": name, "image": name, "conversations": turns})
    (folder / "own.json").write_text(json.dumps(rows))
    paths = {"conversations": str(folder / "own.json"), "images": str(folder / "photos")}
    return {**paths, **fields}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every stored tensor of a step's folder, by file and name."""
    return {
        f"{file.stem}/{name}": tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """Both hold the same tensors, bit for bit."""
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
