"""A stage of training, beside transformers' Trainer on transformers' LLaVA with the same weights.

    python benchmarks/fit.py [--steps N] [--images N] [--batch N]

The micro base candidate (CLIP at 32 pixels, Llama of width 128, all of it trained) on drawn
conversations, on the processor. Ours is the executor of `finetune`, as a study's worker calls it:
it tokenises once, beforehand, splices in batches, logs each step, and stores the parts. The
peer (see `peer.py`) opens, tokenises and resizes each sample as it comes, as LLaVA's script does.
`a step`: seconds of the training loop over its steps; `the stage`: with building the model, getting
the data ready (ours: an index, made once) and storing the result, of so many steps. Both in one
process, the first steps of each left to a run that is not counted.
"""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

import peer
import torch
from rows import Row, run
from transformers import Trainer, TrainingArguments

from ablate.catalog.data_fingerprint import fingerprint
from ablate.train.stage import train
from ablate.worker.process_group import StepRanks

RATES = {"projector": 1e-3, "llm": 5e-4, "encoders": 3e-4}


class Context:
    """What a worker gives an executor."""

    step_kind, device = "finetune", "cpu"

    def __init__(
        self, spec: dict[str, Any], work: Path, home: Path, infra: Mapping[str, Any]
    ) -> None:
        self.parents: dict[str, Path] = {}
        self.annotated: dict[str, Path] = {}
        self.infra = {"checkpoint_every_steps": 10**6, **infra}  # the peer stores none either
        self.spec, self.work, self.home, self.world = spec, work, home, StepRanks()
        self._log, self.prefix = work / "metrics.jsonl", home / "prefixes"
        work.mkdir()

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def truncate_log(self, step: int) -> None: ...

    def log(self, metrics: dict[str, Any]) -> None:
        with self._log.open("a") as file:
            file.write(f"{metrics}\n")


def context(
    source: dict[str, Any],
    home: Path,
    steps: int,
    batch: int,
    name: str,
    infra: Mapping[str, Any] = MappingProxyType({}),
) -> Context:
    """Of a stage of so many steps."""
    stage = {"steps": steps, "epochs": None, "batch_size": batch, "train": RATES}
    spec = {
        "model": peer.SPEC.to_json(),
        "stage": stage,
        "data": {**source, "fingerprint": fingerprint(source)},
        "seed": 0,
    }
    return Context(spec, home / name, home, infra)


def ours(source: dict[str, Any], home: Path, steps: int, batch: int, name: str) -> float:
    """Seconds of the loop."""
    result = train(context(source, home, steps, batch, name))  # type: ignore[arg-type]
    return float(result["seconds_training"])


def theirs(folder: Path, home: Path, steps: int, batch: int, name: str) -> float:
    """Seconds of the loop."""
    model = peer.llava(peer.our_model())
    rows = peer.Rows(folder, peer.Processor(peer.image_token(model)))
    options = TrainingArguments(
        output_dir=str(home / name),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=5e-4,
        lr_scheduler_type="cosine",
        warmup_steps=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=10,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model, options, train_dataset=rows, data_collator=peer.collated)
    with redirect_stdout(sys.stderr):  # what it logs
        seconds = float(trainer.train().metrics["train_runtime"])
    trainer.save_model()
    return seconds


def rows(steps: int = 60, images: int = 720, batch: int = 12) -> list[Row]:
    torch.set_num_threads(1)
    with peer.scratch() as scratch:
        home = Path(scratch)
        source, folder = peer.drawn(home, images)
        ways = {
            "ablate": lambda steps, name: ours(source, home, steps, batch, name),
            "Trainer": lambda steps, name: theirs(folder, home, steps, batch, name),
        }
        loops, wholes = {}, {}
        for name, way in ways.items():
            way(2, f"{name}-warm")
            began = perf_counter()
            loops[name] = 1e3 * way(steps, name) / steps
            wholes[name] = perf_counter() - began
    took = {"fit, a step": (loops, "ms"), "fit, the stage": (wholes, "s")}
    return [
        Row(what, costs["ablate"], unit, "Trainer + Llava", costs["Trainer"])
        for what, (costs, unit) in took.items()
    ]


if __name__ == "__main__":
    run(rows, __doc__)
