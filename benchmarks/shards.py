"""Memory in which the processes of a step load a model: each all of it (ddp), or a share (fsdp).

    python benchmarks/shards.py [--processes N] [--width N] [--layers N] [--only STRATEGY]

A random language model (by default of 201 million parameters, 769 MiB in float32) is put behind
an encoder of the micro scale, on a CPU. A row a strategy: the most memory that the first process
and the fullest of the others had at once before the first sample of fine-tuning, beyond what the
same step takes with a language model of next to nothing, as a share of the weights. It is looked at
every few milliseconds; pages of files are not in it, which the system takes back where it has to.

On two cores shared with five others, three processes: ddp 1.68 each; fsdp 1.03 the first, 0.42 the
others, of which 0.33 is the share they keep.
"""

import argparse
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.worker.context import StepContext

EXECUTORS = {
    "pretrain": "shards:nothing",
    "finetune": "shards:measured",
    "evaluate": "shards:score",
}
TASK = {"metric": "none", "value": 0.0, "n": 0}
STRATEGIES = ("ddp", "fsdp")


def nothing(ctx: StepContext) -> dict[str, Any]:
    return {}


def measured(ctx: StepContext) -> dict[str, Any]:
    """Train, and leave the MiB that this process had at most before the first sample."""
    from ablate.train.module import Training
    from ablate.train.stage import train

    loaded, seen = threading.Event(), [0.0]

    def look() -> None:
        while not loaded.wait(0.003):
            seen.append(anonymous())

    Training.on_train_start = lambda module: loaded.set()  # type: ignore[method-assign]
    threading.Thread(target=look).start()
    result = train(ctx)
    (ctx.home / f"{ctx.world.rank}.json").write_text(json.dumps(max(seen)))
    return result


def anonymous() -> float:
    """The MiB of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [line] = (line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def score(ctx: StepContext) -> dict[str, Any]:
    (ctx.work / "answers.jsonl").touch()
    return {"scores": {"none": TASK}, "composite": 0.0}


def make_llm(folder: Path, width: int, layers: int) -> float:
    """A language model with the micro scale's tokenizer in `folder`; MiB of it in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from ablate.catalog.llms import resolve
    from ablate.model.language import load_tokenizer

    tokenizer = load_tokenizer(resolve("llama-micro"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=512,
    )
    model = LlamaForCausalLM(config)
    model.bfloat16().save_pretrained(folder)  # as published ones are
    tokenizer.save_pretrained(folder)
    return sum(4 * parameter.numel() for parameter in model.parameters()) / 2**20


def study_of(llm: Path, strategy: str, processes: int) -> Study:
    """One candidate, with one step of fine-tuning."""
    stage = f"{{steps: 1, batch_size: {processes}, train: {{projector: 1.0e-3}}, data: "
    changes = [
        "explore={kind: arms, axis: none, arms: [{name: base}]}",
        f"base.llm={llm}",
        "base.recipe.prealign=null",
        f"base.recipe.pretrain={stage}pairs}}",
        f"base.recipe.finetune={stage}conversations}}",
        f"infra={{device: cpu, devices: {processes}, strategy: {strategy}}}",
    ]
    return load_study("micro/smoke", changes)


def peaks(llm: Path, strategy: str, processes: int, home: Path) -> list[float]:
    """The MiB that each process had at most."""
    drive(study_of(llm, strategy, processes), backend="local", home=home, executors=EXECUTORS)
    return [json.loads((home / f"{rank}.json").read_text()) for rank in range(processes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--only", choices=STRATEGIES, help="default: all")
    given = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)  # what is freed counts no longer
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_llm(folder / "small", 64, 1)
        weights = make_llm(folder / "large", given.width, given.layers)
        print(f"{weights:.0f} MiB of weights, {given.processes} processes")
        print(f"{'strategy':10} {'first':>6} {'others':>7}")
        for strategy in [given.only] if given.only else STRATEGIES:
            small, large = (
                peaks(folder / size, strategy, given.processes, folder / f"{strategy}-{size}")
                for size in ("small", "large")
            )
            first, *others = ((b - a) / weights for a, b in zip(small, large, strict=True))
            print(f"{strategy:10} {first:6.2f} {max(others):7.2f}", flush=True)


if __name__ == "__main__":
    main()
