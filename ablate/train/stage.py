"""Runs one training step, such as pre-alignment, pre-training or fine-tuning.

They differ in data alone: in the model, the parts that learn, and the step they start from.
"""

import logging
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from torch.utils.data import DataLoader

from ablate.catalog import step_kinds
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import parse, require
from ablate.catalog.map_encoders import drawn_by
from ablate.catalog.model_spec import ModelSpec
from ablate.catalog.objectives import OBJECTIVES
from ablate.catalog.weights import weights_home
from ablate.config.infra import CHECKPOINT_MINUTES
from ablate.cost.encoders import flops
from ablate.data.chat import Chat
from ablate.data.collate import MicroBatches
from ablate.data.dataset import Conversations
from ablate.data.maps import Maps
from ablate.data.notes import Notes
from ablate.data.sampler import GroupedOrder, Order
from ablate.design.adapters import require_adaptable
from ablate.design.objective import require_objective
from ablate.errors import UserError
from ablate.files import write_json
from ablate.home import Home
from ablate.hub.download import notes
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm
from ablate.model.onednn import use_onednn
from ablate.model.parts import parameter_table, save_parts
from ablate.trackers import Tracking, tracking
from ablate.train import checkpoint, trunk
from ablate.train.adapting import attach_adapters, merge_adapters
from ablate.train.callbacks import BadImages, MetricsAndCheckpoints, RestoreSigterm
from ablate.train.checkpoint import CheckpointWriter
from ablate.train.compiling import compile_layers
from ablate.train.devices import gather_full, process_group
from ablate.train.features import use_features
from ablate.train.module import Training
from ablate.train.objectives import Objective
from ablate.train.packing import packed_attention
from ablate.train.plan import Plan
from ablate.train.recomputing import parts_to_recompute
from ablate.train.restore import blank_model, starting_model, stored_parts
from ablate.train.sharing import SHARINGS, Sharing

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

Table = list[dict[str, Any]]
"""As `parameter_table` makes it."""


def train(ctx: "StepContext") -> dict[str, Any]:
    """Train a stage and leave its parts and `parameters.json` in `ctx.work`.

    Interrupted, it goes on at the last checkpoint's next sample, to the same weights and metrics
    bit for bit (on a CPU of the same kind); so does one that begins where a smaller share of the
    same stage has left its `trunk`, and `taken_over` says how many steps were done there. Where
    processes share the step (`ctx.world`), each of them calls this, and the leader's alone leaves
    something. Returns the step's figures for its record, among them the bad rows that were passed
    over and what is noted of fetched weights. Raises `UserError` for missing, changed or bad data
    (file and row) and for a loss that is not finite.
    """
    strategy = ctx.infra.get("strategy", "ddp") if ctx.world.size > 1 else "alone"
    sharing = SHARINGS.get(strategy, Sharing)()
    plan = Plan(**ctx.spec["stage"])
    require_adaptable(strategy, plan.adapters)
    require_objective(strategy, plan.objective)
    objective: Objective = OBJECTIVES.build(**plan.objective)
    states = ctx.work / checkpoint.FOLDER
    step = ctx.world.agree(checkpoint.step_of(states))
    model = _model(ctx, plan, sharing, resumed=bool(step))
    reference = starting_model(ctx.spec, ctx.parents) if objective.of_pairs else None
    sizes = {row["part"]: row["parameters"] for row in parameter_table(model)}
    adapted = attach_adapters(model, plan.adapters, ctx.spec["seed"])
    if ctx.device == "cpu" and strategy == "alone" and not ctx.infra.get("compile"):
        use_onednn(model)
    if ctx.infra.get("packing"):
        attention = packed_attention(model.llm, ctx.device, half=plan.in_half(ctx.device))
        for each in filter(None, (model, reference)):
            each.pack_conversations(attention)
    batches = _batches(ctx, plan, model, objective)
    whole = plan.steps or batches.order.steps(plan.epochs or 1)
    steps = plan.length(whole)
    branch = plan.trunk(steps)
    if ctx.world.leads and not step:
        trunk.take(ctx.prefix, ctx.work, branch)
    step = ctx.world.agree(checkpoint.step_of(states))
    module = Training(
        model,
        plan,
        objective,
        steps=steps,
        whole=whole,
        micro_batches=batches.parts,
        seed=ctx.spec["seed"],
        states=states,
        step=step,
        world=ctx.world,
        sharing=sharing,
        adapted={part: each.learning for part, each in adapted.items()},
        reference=reference,
    )
    module.set_learning(whole - 1)
    rows = 1 + objective.of_pairs
    model.checkpoint_activations(parts_to_recompute(ctx, plan, model, batches.data, rows))
    model.recomputes_logits = bool(ctx.infra.get("gradient_checkpointing"))
    labels = {part: each.label for part, each in adapted.items()}
    table = [
        {**row, "parameters": sizes[row["part"]]}  # without those of adapters
        for row in parameter_table(model, labels)
    ]
    _show(table)
    _require_learning(plan, model, table)
    # Before anything is trained: a plug-in may fail to say one of them.
    figures = _figures(model, batches.data, table)
    kept = _kept(ctx, plan, model)
    use_features(ctx, plan, model.mixture, batches.data, whole)
    if ctx.infra.get("compile"):  # not before: features are kept for others, too
        compile_layers(model, ctx.device)
    started = time.monotonic()
    with (
        process_group(ctx.world, ctx.device, sharing.disconnect),
        tracking(ctx, "train", module.step) as tracked,
    ):
        _fit(ctx, module, batches, branch if plan.share < 1 else 0, tracked)
        for part in kept:
            gather_full(model.parts[part], ctx.world)
    seconds = time.monotonic() - started

    taken: dict[str, Any] = {}
    if ctx.world.leads:
        taken = trunk.pop_origin(ctx.work)
        merge_adapters(model, adapted)
        save_parts(model, ctx.work, kept)
        write_json(ctx.work / "parameters.json", table)
        shutil.rmtree(states, ignore_errors=True)
        if plan.share == 1:
            shutil.rmtree(ctx.prefix, ignore_errors=True)
    bad = {name: part.budget for name, part in batches.data.parts.items() if part.budget.bad}
    return {
        "steps": steps,
        "samples": steps * plan.batch_size,
        "loss": module.metrics["loss"],
        "seconds_training": seconds,
        "bad_rows": {name: budget.to_json() for name, budget in bad.items()},
        **figures,
        **taken,
    }


def _model(ctx: "StepContext", plan: Plan, sharing: Sharing, *, resumed: bool) -> Mllm:
    """The model as the stage begins with it; `resumed`: without the weights that its state has."""
    if sharing.leader_reads and not ctx.world.leads:
        return blank_model(ctx.spec)  # the leader will send its share
    held = plan.rates.keys() - plan.adapters.keys() if resumed else ()
    return starting_model(ctx.spec, ctx.parents, held)


def _require_learning(plan: Plan, model: Mllm, table: Table) -> None:
    """UserError unless something learns, and the projector where it is to be warmed up."""
    if not any(row["trainable"] for row in table):
        raise UserError(f"nothing learns: no parameters in {', '.join(plan.train)}")
    if plan.warm_projector and not list(model.projector.parameters()):
        fusion = model.spec.fusion["name"]
        raise UserError(f"warm_projector: with {fusion} no projector learns; leave it at 0")


def _figures(model: Mllm, data: Conversations, table: Table) -> dict[str, Any]:
    """What the step's record says of the model."""
    return {
        "weights": _published(model.spec),
        "parameters": sum(row["parameters"] for row in table),
        "trainable": sum(row["trainable"] for row in table),
        "visual_tokens": round(data.visual_tokens),
        "vision_flops": round(data.views * _flops_of_view(model)),
        "fusion_notes": model.mixture.fusion.notes(),
    }


def _flops_of_view(model: Mllm) -> int:
    """Of encoders and fusion, for an image that is not cut."""
    return sum(map(flops, model.spec.encoders)) + model.mixture.fusion.flops()


def _published(spec: ModelSpec) -> dict[str, Any]:
    """Commit and sha256 of the files of each published repository, where `ablate fetch` got it."""
    parts = [encoder.weights for encoder in spec.encoders] + [spec.llm]
    names = {part.ref for part in parts if part.kind == "published"}
    files_of_repository = {name: notes(weights_home() / name) for name in sorted(names)}
    return {name: files for name, files in files_of_repository.items() if files}


def _batches(ctx: "StepContext", plan: Plan, model: Mllm, objective: Objective) -> MicroBatches:
    source = parse(ctx.spec["data"])
    require([source])
    content = fingerprint(source)
    if content != ctx.spec["data"]["fingerprint"]:
        raise UserError("the data has changed since the study was planned; start it anew")
    drawn = [*filter(None, map(drawn_by, model.spec.encoders))]
    with ctx.world.leader_first():
        data = Conversations(
            source,
            content,
            Chat(
                load_tokenizer(model.spec.llm),
                plain=plan.prompt == "plain",
                pairs=objective.of_pairs,
            ),
            Home(ctx.home).data,
            max_length=min(plan.max_length, model.spec.llm.context),
            tiles=model.tiles,
            notes=Notes.of(ctx.spec.get("outputs", ()), ctx.annotated),
            maps=Maps.of(drawn, ctx.annotated, padded=source.canvas is not None),
        )
    order = (
        GroupedOrder(data.lengths, data.has_image, plan.batch_size, ctx.spec["seed"])
        if plan.group_by_length
        else Order(len(data), plan.batch_size, ctx.spec["seed"])
    )
    size = ctx.infra.get("micro_batch_size") or plan.batch_size
    return MicroBatches(
        data,
        order,
        size,
        ctx.world.rank,
        ctx.world.size,
        packed=ctx.infra.get("packing", False),
        weigh=objective.weights,
    )


def _fit(
    ctx: "StepContext", module: Training, batches: MicroBatches, branch: int, tracked: Tracking
) -> None:
    """Do the steps that are left; `branch`: after which one its state is a trunk, 0 for none."""
    cuda = ctx.device.startswith("cuda")
    half = module.plan.in_half(ctx.device)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(module.step * batches.parts, module.steps * batches.parts),
        num_workers=ctx.infra.get("num_workers", 0),
    )
    writer = CheckpointWriter(module.states, ctx.world, module.fixed)
    budgets = {name: part.budget for name, part in batches.data.parts.items()}
    options: dict[str, Any] = {
        **module.sharing.options(ctx.world, ctx.device, module.plan.clip, half),
        "accelerator": "gpu" if cuda else "cpu",
        "precision": "bf16-mixed" if half else "32-true",
        "max_epochs": 1,
        "accumulate_grad_batches": batches.parts,
        "callbacks": [
            BadImages(ctx.work / "bad-images.jsonl", budgets, ctx.world),
            MetricsAndCheckpoints(
                ctx,
                tracked,
                writer,
                ctx.infra.get("checkpoint_every_steps"),
                ctx.infra.get("checkpoint_every_minutes", CHECKPOINT_MINUTES),
                branch,
            ),
            RestoreSigterm(),
        ],
        "default_root_dir": ctx.work,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    ctx.truncate_log(module.step)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with _quiet():
            trainer = L.Trainer(**options)
            if trainer.world_size != ctx.world.size:
                raise RuntimeError(f"{trainer.world_size} processes, not {ctx.world.size}")
            with writer:
                trainer.fit(module, loader)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning made an exit of Ctrl-C
            signal.signal(signal.SIGINT, interrupt)
            raise KeyboardInterrupt from None
        raise
    except UserError as error:  # a data worker's comes with its traceback as text
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice: it is about defaults that are meant here."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        log.setLevel(level)


def _kept(ctx: "StepContext", plan: Plan, model: Mllm) -> list[str]:
    """The parts to store: all, or those that no longer are as shipped, as the kind of step says."""
    kind = step_kinds.find(ctx.step_kind)
    if kind.keeps_all:
        return list(model.parts)
    changed: set[str] = {"projector", "fusion", *plan.rates}
    for folder in ctx.parents.values():
        changed.update(stored_parts(folder))
    if kind.per_expert:
        changed.add("encoders")
    return [part for part in model.parts if part in changed]


def _show(table: Table) -> None:
    for row in table:
        state = f"{row['trainable']:,} trained" if row["trainable"] else "frozen"
        state += f" ({row['adapter']})" if "adapter" in row else ""
        print(f"{row['part']:<32} {row['parameters']:>14,} parameters, {state}", file=sys.stderr)
