"""Which parts compute their activations again in the backward pass, as `infra` says or memory asks.

Neither gradients nor weights depend on it, but for the order of sums.
"""

import sys
from math import ceil
from typing import TYPE_CHECKING

import torch

from ablate.catalog.axes import INJECTION
from ablate.catalog.parts import Part
from ablate.config.infra import Infra
from ablate.cost.encoders import Cost, total
from ablate.cost.encoders import cost as encoder_cost
from ablate.cost.estimate import llm_cost
from ablate.cost.memory import (
    EVERYTHING,
    NOTHING,
    UPDATE,
    WEIGHT,
    Recomputed,
    StepMemory,
    recomputed_words,
)
from ablate.cost.visual import connector_figures
from ablate.data.dataset import Conversations
from ablate.model.mllm import Mllm
from ablate.train.plan import Plan

if TYPE_CHECKING:
    from ablate.worker.context import StepContext


def parts_to_recompute(
    ctx: "StepContext", plan: Plan, model: Mllm, data: Conversations, rows: int
) -> Recomputed:
    """The parts whose blocks are to compute again, the same in all processes.

    Where `gradient_checkpointing` is `auto`, as few as `data`'s longest conversation and the GPU's
    memory allow by the planner's model of it; on a processor none, and all where an injection keeps
    more. `model`'s parameters say by now which of them learn; rows: the conversations of a sample.
    """
    asked = ctx.infra.get("gradient_checkpointing", False)
    if asked != "auto":
        return EVERYTHING if asked else NOTHING
    if not ctx.device.startswith("cuda"):
        return NOTHING
    if model.spec.injection != INJECTION.default:
        return EVERYTHING
    room = torch.cuda.mem_get_info(ctx.device)[1] / 2**30
    chosen: Recomputed = ctx.world.agree(dict(_least(ctx, plan, model, data, rows, room)))
    print(f"infra.gradient_checkpointing: auto {recomputed_words(chosen)}", file=sys.stderr)
    return chosen


def _least(
    ctx: "StepContext", plan: Plan, model: Mllm, data: Conversations, rows: int, room: float
) -> Recomputed:
    """For a GPU of so many GiB."""
    processes = {"devices": ctx.world.devices, "nodes": ctx.world.nodes}
    infra = Infra.model_validate({**ctx.infra, **processes})
    share = ceil(plan.batch_size / ctx.world.size)
    at_once = min(ctx.infra.get("micro_batch_size") or share, share)
    costs = _costs(model, int(data.lengths.max()))
    memory = StepMemory(
        plan,
        _held(model, rows, infra) / 2**30,
        {part: cost.outputs for part, cost in costs.items()},
        0.0,
        int(data.learnt.max()),
        model.llm.config.get_text_config(decoder=True).vocab_size,
        in_chunks=True,
    )
    work = {part: cost.flops for part, cost in costs.items()}
    return memory.least_recomputed(rows * at_once, room, work)


def _held(model: Mllm, rows: int, infra: Infra) -> float:
    """Bytes of weights, of gradients and of moments on a device."""
    numbers = sum(parameter.numel() for parameter in model.parameters())
    learn = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = WEIGHT * rows * numbers / infra.shares_of_weights
    return weights + UPDATE * learn / infra.shares_of_updates


def _costs(model: Mllm, tokens: int) -> dict[Part, Cost]:
    """Of a conversation of so many tokens with one image, in as many views as there can be."""
    spec, fusion, tiling = model.spec, model.mixture.fusion, model.tiles.tiling
    options = {name: value for name, value in spec.connector.items() if name != "name"}
    connected = connector_figures(
        spec.connector["name"],
        tuple((n, c) for n, c in tiling.segments(fusion.segments, fusion.grids)),
        tuple(fusion.grids),
        spec.llm.width,
        tuple(sorted(options.items())),
    )
    sizes = [*tiling.largest()]
    return {
        "encoders": total(map(encoder_cost, spec.encoders)).times(
            max(map(tiling.num_views, sizes))
        ),
        "projector": connected.cost.times(max(map(tiling.num_units, sizes))),
        "llm": llm_cost(spec.llm).times(tokens),
    }
