"""The step kind `bake`: trains one of the micro weights and writes it with its card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import LlamaForCausalLM

from ablate.bake.encoder import COURSES, train_encoder
from ablate.bake.heads import HEADS, right_cells, train_heads
from ablate.bake.language import probe_language, train_language
from ablate.bake.probe import probe
from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog.bake_targets import TARGETS
from ablate.catalog.encoders import resolve
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.catalog.world_version import WORLD_VERSION
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder
from ablate.encoders.tensors import load_module, save_module
from ablate.errors import UserError, nearest
from ablate.files import as_made, read_json, sha256_file, write_json

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

LOG_EVERY = 20
BASE = "clip-micro"
LAYOUTS = {1: "one token a cell", 2: "two blocks", 3: "three blocks", 4: "four blocks"}


def bake(ctx: "StepContext") -> dict[str, Any]:
    """Make `spec["target"]` from `spec["seed"]` in `spec["steps"]` steps, in `ctx.work`.

    An encoder, or the heads of an annotator, leave `<name>.safetensors` and a card `<name>.json`;
    the language model a folder in Hugging Face's format with `card.json`. Returns the card. An
    interrupted bake starts again. Raises UserError for an unknown target.
    """
    target, seed, steps = (ctx.spec[name] for name in ("target", "seed", "steps"))
    if target not in TARGETS:
        raise UserError(f"bake: unknown target '{target}'{nearest(target, TARGETS)}")
    ctx.truncate_log(0)
    torch.set_num_threads(1)  # as shipped: another number of threads adds up in another order

    def log(step: int, metrics: dict[str, float]) -> None:
        ctx.progress(step, steps, target)
        if step % LOG_EVERY == 0:
            ctx.log({"step": step, **metrics})

    facts = {"seed": seed, "steps": steps}
    if target in COURSES:
        return write_encoder(train_encoder(target, seed, steps, log), target, ctx.work, facts)
    if target in HEADS:
        return write_heads(train_heads(target, seed, steps, log), target, ctx.work, facts)
    return write_language(train_language(seed, steps, log), ctx.work / target, facts)


def write_encoder(
    encoder: Encoder, name: str, folder: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    """Store the encoder in half precision, with a card of what those weights tell of each cell."""
    weights = folder / f"{name}.safetensors"
    save_module(encoder, weights, torch.float16)
    load_module(encoder, weights)  # what is probed is what is shipped
    untrained = build_encoder(resolve(name), load_weights=False).eval()
    card = {
        **facts,
        **_common(name, encoder),
        "task": resolve(name).task,
        "how": " ".join((COURSES[name].purpose).split()),
        "sha256": sha256_file(weights),
        "probe": probe(encoder.eval()),
        "probe_untrained": probe(untrained),
        **({} if name == BASE else _probe_of_base()),
        "probe_is": "share of held-out cells a linear (softmax) probe on the map gets right",
    }
    write_json(folder / f"{name}.json", card)
    return card


def write_heads(
    heads: torch.nn.ModuleDict, name: str, folder: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    """Store an annotator's heads in half precision, with a card of what they get right."""
    weights = folder / f"{name}.safetensors"
    save_module(heads, weights, torch.float16)
    load_module(heads, weights)
    card = {
        **facts,
        **_common(name, heads),
        "encoder": HEADS[name].encoder,
        "task": "annotation",
        "how": "A linear layer for each attribute of a cell, on the map of the frozen encoder.",
        "sha256": sha256_file(weights),
        "right_cells": right_cells(name, heads.eval()),
        "right_cells_is": "share of held-out cells that have the attribute",
    }
    write_json(folder / f"{name}.json", card)
    return card


def write_language(model: LlamaForCausalLM, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Store the language model and its tokenizer as a folder, with a card of its exact answers."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    as_made(folder / "model.safetensors")  # safetensors gives 0600
    # What is probed is what is shipped, and what whoever loads it gets.
    shipped = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    card = {
        **facts,
        **_common(folder.name, shipped),
        "task": "language modelling of text scenes",
        "how": "It saw words summed into visual positions, in many layouts, and never an image.",
        "sha256": sha256_file(folder / "model.safetensors"),
        "exact_answers": {name: probe_language(shipped, n) for n, name in LAYOUTS.items()},
    }
    write_json(folder / "card.json", card)
    return card


def _probe_of_base() -> dict[str, Any]:
    """What the shipped base tells of the same cells, for comparison, if there is one yet."""
    card = WEIGHTS / "micro" / f"{BASE}.json"
    return {"probe_base": read_json(card)["probe"]} if card.exists() else {}


def _common(name: str, model: torch.nn.Module) -> dict[str, Any]:
    return {
        "name": name,
        "made_by": f"ablate bake {name}",
        "world_version": WORLD_VERSION,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "licence": "Apache-2.0",
    }
