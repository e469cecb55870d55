"""Memory of a step's processes on a CPU: each with all weights (ddp), or with a share (fsdp).

    python benchmarks/shards.py [--processes N] [--width N] [--layers N]

A random language model (by default of 201 million parameters, 767 MiB in float32) is put behind
an encoder of the micro scale. In pre-training and in fine-tuning the projector alone learns, one
step long, so that memory is weights; fine-tuning stores them all. A row a strategy and stage: the
most that the first process and the fullest of the others held beyond Python and its libraries, as
a share of the weights. What a process maps of the files it reads is in it.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ablate.record import forget_peak_memory, peak_memory_mb
from ablate.scheduler import drive
from ablate.study import Study, load_study
from ablate.worker import StepContext

STAGES = ("pretrain", "finetune")
EXECUTORS = {**dict.fromkeys(STAGES, "shards:measured"), "evaluate": "shards:score"}
TASK = {"metric": "none", "value": 0.0, "n": 0}


def measured(ctx: StepContext) -> dict[str, Any]:
    """Train, and leave the MiB that this process took for it at most."""
    from ablate.train.stage import train

    forget_peak_memory()
    before = peak_memory_mb()
    result = train(ctx)
    peak = ctx.home / f"{ctx.step_kind}-{ctx.world.rank}.json"
    peak.write_text(json.dumps(peak_memory_mb() - before))
    return result


def score(ctx: StepContext) -> dict[str, Any]:
    (ctx.work / "answers.jsonl").touch()
    return {"scores": {"none": TASK}, "composite": 0.0}


def make_llm(folder: Path, width: int, layers: int) -> float:
    """A language model with the micro scale's tokenizer in `folder`; MiB of its weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from ablate.model.language import load_tokenizer
    from ablate.model.llms import resolve

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
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.nbytes for parameter in model.parameters()) / 2**20


def study_of(llm: Path, strategy: str, processes: int) -> Study:
    """One candidate, whose two stages take one step each."""
    stage = "{steps: 1, batch_size: 4, train: {projector: 1.0e-3}, data: "
    changes = [
        "explore={kind: arms, axis: none, arms: [{name: base}]}",
        f"base.llm={llm}",
        "base.recipe.prealign=null",
        f"base.recipe.pretrain={stage}pairs}}",
        f"base.recipe.finetune={stage}conversations}}",
        f"infra={{device: cpu, devices: {processes}, strategy: {strategy}}}",
    ]
    return load_study("micro/smoke", changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    given = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = Path(place).absolute()
        weights = make_llm(folder / "llm", given.width, given.layers)
        print(f"{weights:.0f} MiB of weights, {given.processes} processes")
        print(f"{'strategy':10} {'stage':10} {'first':>6} {'others':>7}")
        for strategy in ("ddp", "fsdp"):
            home = folder / strategy
            study = study_of(folder / "llm", strategy, given.processes)
            drive(study, backend="local", jobs=1, home=home, executors=EXECUTORS)
            for stage in STAGES:
                first, *others = (
                    json.loads((home / f"{stage}-{rank}.json").read_text()) / weights
                    for rank in range(given.processes)
                )
                print(f"{strategy:10} {stage:10} {first:6.2f} {max(others):7.2f}", flush=True)


if __name__ == "__main__":
    main()
