"""Training steps of the paper's largest mixture on one GPU: speed, memory, and where time goes.

    python benchmarks/gpu.py [--llm NAME ...] [--batch N] [--steps N] [--tiny]

X5 (five experts, 32x32 tokens) at its true shape with random weights and random samples, an image
and 250 tokens of text each, in bfloat16, activations recomputed: the projector alone, then all but
the language model, then everything, each with and without `torch.compile` of the encoders and the
language model's layers. A row a case: samples a second, the most memory in use, the share of the
GPU's peak (operations as `ablate.cost.estimate` counts them, recomputed ones among them), and the
milliseconds of a step in each part's forward pass, in the backward pass, and in the optimizer.
What does not fit is said. Then attention of packed conversations alone, in one layer of 32 heads of
width 128, forward and backward: one after the other, and all at once as FlexAttention has it.
`--tiny` is the same on the micro scale, for which a CPU will do, but for what is a GPU's alone.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn

from ablate.catalog import step_kinds
from ablate.catalog.model_spec import ModelSpec
from ablate.config.study import Study, load_study
from ablate.cost import estimate as cost
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch
from ablate.design import Candidate
from ablate.model.mllm import Mllm, build_model
from ablate.model.packing import Lengths, attend_apart, attend_at_once
from ablate.search.explore import rounds_so_far
from ablate.store.steps import Step, steps_for
from ablate.train.module import Training
from ablate.train.objectives.sft import Sft
from ablate.train.plan import Plan
from ablate.worker.process_group import StepRanks

X5 = (
    "clip-l14@448",
    "convnext-xxl@1024",
    "sam-l@1024",
    "eva02-l16-det@1024",
    "pix2struct-l@1024",
)
MICRO = ("clip-micro@32", "convnext-micro@128", "sam-micro@128")
LEARNING = {
    "projector": ("projector",),
    "all but the LLM": ("encoders", "projector"),
    "everything": ("encoders", "projector", "llm"),
}
TEXT = step_kinds.find("finetune").text
CONVERSATIONS = [1274] * 16, [40, 360, 200] * 34
"""Tokens of those in a row: with an image and the samples' text each, and short ones of text."""
WAYS = {"one after the other": attend_apart, "all at once": attend_at_once}
WARM = 2
"""Steps before those that are timed."""


class Unscored:
    """A store without results: only the first candidate is asked for."""

    def result(self, candidate: Candidate) -> None:
        return None

    def decision(self, number: int) -> None:
        return None


def planned(llm: str, learning: Sequence[str], batch: int, tiny: bool) -> tuple[Study, Step]:
    """A study of one candidate, and its step of one optimiser step of fine-tuning."""
    encoders, grid = (MICRO, "[4, 4]") if tiny else (X5, "[32, 32]")
    rates = ", ".join(f"{part}: 1e-5" for part in learning)
    data, lengths = "conversations" if tiny else "sft-934k", f"steps: 1, batch_size: {batch}"
    study = load_study(
        "micro/experts" if tiny else "eagle/rounds",
        [
            "explore={kind: rounds, rounds: 1, pool: [dinov2-micro@64]}",
            f"base.encoders=[{', '.join(encoders)}]",
            f"base.fusion.grid={grid}",
            f"base.llm={llm}",
            "base.recipe.prealign=null",
            f"base.recipe.finetune={{data: {data}, {lengths}, train: {{{rates}}}}}",
            "infra.gradient_checkpointing=true",
            "infra.micro_batch_size=null",
        ],
    )
    [candidate] = rounds_so_far(study, Unscored(), 1)[0].candidates
    _, finetune, _ = steps_for(candidate, study)
    return study, finetune


def operations(study: Study, finetune: Step) -> float:
    """FLOPs of the step."""
    [candidate] = rounds_so_far(study, Unscored(), 1)[0].candidates
    found = cost.step_cost(study, candidate, finetune, cost.GPUS["h100"])
    assert found is not None
    return found.flops


def samples(batch: int, pixels: int, device: torch.device) -> Batch:
    """Each an image and text, of which the last third is learnt."""
    ids = torch.randint(5, 70, (batch, TEXT + 1), device=device)
    ids[:, 0] = IMAGE_TOKEN_ID
    labels = ids.clone()
    labels[:, : 2 * TEXT // 3] = IGNORE_INDEX
    images = torch.randint(0, 256, (batch, 3, pixels, pixels), device=device, dtype=torch.uint8)
    rows, real = torch.arange(batch, device=device), torch.ones_like(ids, dtype=torch.bool)
    return Batch(images, rows, ids, labels, real)


class Clock:
    """Milliseconds by name, of one step at a time; waits for the GPU at each mark."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self.steps[-1][name] = self.steps[-1].get(name, 0.0) + 1e3 * (self._now() - start)

    def around(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        """The call, timed."""

        def timed(*args: object, **options: object) -> object:
            with self.of(name):
                return call(*args, **options)

        return timed

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return perf_counter()


def measured(
    model: Mllm, plan: Plan, batch: Batch, clock: Clock, steps: int
) -> tuple[float, dict[str, float]]:
    """Seconds a step, as it runs; and milliseconds by part, from steps that wait at each."""
    none = Path("no-checkpoint")
    total = WARM + 2 * steps
    objective = Sft()
    module = Training(
        model,
        plan,
        objective,
        steps=total,
        whole=total,
        micro_batches=1,
        seed=0,
        states=none,
        world=StepRanks(),
    )
    module.set_learning(0)
    optimizer = module.configure_optimizers()
    half = torch.autocast(clock.device.type, torch.bfloat16)

    def step() -> None:
        with half:
            loss = objective(*model(batch))
        with clock.of("backward"):
            loss.backward()
        with clock.of("optimizer"):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, plan.clip)
            optimizer.step()
            optimizer.zero_grad()

    whole = []
    for _ in range(WARM + steps):
        clock.steps.append({})
        start = clock._now()
        step()
        whole.append(clock._now() - start)
    parts = clock.steps[WARM:]
    return median(whole[WARM:]), {name: median(one[name] for one in parts) for name in parts[0]}


def row(llm: str, name: str, options: argparse.Namespace, compiled: bool) -> list[str]:
    """One case: its figures as text."""
    device = torch.device("cpu" if options.tiny else "cuda")
    case = [llm, name, "yes" if compiled else "no"]
    study, finetune = planned(llm, LEARNING[name], options.batch, options.tiny)
    spec = ModelSpec.from_json(finetune.spec["model"])
    try:
        with device:
            model = build_model(spec, load_weights=False, seed=0)
        model.checkpoint_activations()
        if compiled:
            for encoder in model.mixture.encoders:
                encoder.maps = torch.compile(encoder.maps)
            for layer in model.llm.model.layers:
                layer.compile()
        clock = Clock(device)
        for encoder in model.mixture.encoders:
            encoder.maps = clock.around("encoders", encoder.maps)
        model.projector.forward = clock.around("projector", model.projector.forward)
        model.llm.forward = clock.around("llm", model.llm.forward)
        pixels = 128 if options.tiny else 1024
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, parts = measured(
            model,
            Plan(**finetune.spec["stage"]),
            samples(options.batch, pixels, device),
            clock,
            options.steps,
        )
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return [*case, "does not fit"]
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    share = operations(study, finetune) / seconds / _peak() if device.type == "cuda" else 0.0
    shown = ", ".join(f"{part} {parts[part]:.0f}" for part in parts)
    return [*case, f"{options.batch / seconds:.2f}", f"{peak:.1f}", f"{100 * share:.0f} %", shown]


def attention_row(tokens: list[int], way: str, options: argparse.Namespace) -> list[str]:
    """One layer's attention of conversations of so many tokens: its figures as text."""
    device = torch.device("cpu" if options.tiny else "cuda")
    heads, width = (2, 16) if options.tiny else (32, 128)
    case = [way, str(len(tokens)), f"{sum(tokens):,}"]
    if options.tiny and way == "all at once":
        return [*case, "needs a GPU"]
    size = 1, heads, sum(tokens), width
    parts = [
        torch.randn(size, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    ]
    clock, lengths = Clock(device), Lengths(tokens)
    for _ in range(WARM + options.steps):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        clock.steps.append({})
        with clock.of("attention"):
            made, _ = WAYS[way](nn.Module(), *parts, None, lengths=lengths)
            torch.autograd.grad(made, parts, torch.ones_like(made))
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    took = median(step["attention"] for step in clock.steps[WARM:])
    return [*case, f"{took:.2f}", f"{peak:.1f}"]


def _peak() -> float:
    """Dense bfloat16 operations a second of this GPU; an H100's where it is not known."""
    name = torch.cuda.get_device_name().lower()
    return next((gpu.peak for kind, gpu in cost.GPUS.items() if kind in name), 989e12)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--llm", nargs="+", default=[])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not (options.tiny or torch.cuda.is_available()):
        sys.exit("no GPU here: this measures one (--tiny tries the same on a CPU, very small)")
    llms = options.llm or (["llama-micro"] if options.tiny else ["qwen2.5-0.5b", "vicuna-7b"])
    where = "CPU" if options.tiny else torch.cuda.get_device_name()
    print(f"{where}, batch {options.batch}, torch {torch.__version__}")
    head = "llm | learns | compiled | samples/s | peak GiB | of the peak | ms a step"
    print(f"| {head} |\n|{'---|' * 7}")
    for llm in llms:
        for name in LEARNING:
            for compiled in (False, True):
                print(f"| {' | '.join(row(llm, name, options, compiled))} |", flush=True)
    head = "packed attention | conversations | tokens | ms | peak GiB"
    print(f"\n| {head} |\n|{'---|' * 5}")
    for tokens in CONVERSATIONS:
        for way in WAYS:
            short = tokens[:3] if options.tiny else tokens
            print(f"| {' | '.join(attention_row(short, way, options))} |", flush=True)


if __name__ == "__main__":
    main()
