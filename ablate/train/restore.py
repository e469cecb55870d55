"""Models from the weights that steps left behind."""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ablate.catalog.model_spec import ModelSpec
from ablate.catalog.parts import PARTS
from ablate.encoders.tensors import load_module, skip_init
from ablate.files import read_json
from ablate.model.mllm import Mllm, build_model
from ablate.model.parts import load_parts
from ablate.store.steps import GROWN
from ablate.train.growing import grow


def load_trained(folder: Path) -> Mllm:
    """The model of a committed training step: its own parts, and shipped weights for the rest.

    Raises `UserError` naming the file and tensor that is missing, damaged, or does not fit.
    """
    spec = read_json(folder / "spec.json")["spec"]
    parts = stored_parts(folder)
    model = _shipped_model(spec, parts)
    load_parts(model, folder, parts)
    return model


def starting_model(
    spec: Mapping[str, Any], parents: Mapping[str, Path], held: Collection[str] = ()
) -> Mllm:
    """The model a training step starts from: shipped weights, and over them its parents' parts.

    From a parent of one expert (`prealign:<title>`) comes its encoder alone: the projector it was
    aligned with fits no mixture. From `grown` comes the function of a smaller mixture (see `grow`).
    Any other has trained this very model, and left what it and those before it have changed.
    `held`: the parts to be filled from a checkpoint; if that is all of them, no weights are read.
    """
    model = _shipped_model(spec, held)
    if _is_whole(spec, held):
        return model
    encoders = zip(model.spec.encoders, model.mixture.encoders, strict=True)
    alone = {encoder.title: module for encoder, module in encoders}
    for role, folder in parents.items():
        if title := role.partition(":")[2]:
            [file] = folder.glob("encoder-*.safetensors")
            load_module(alone[title], file)
        elif role == GROWN:
            grow(model, folder, stored_parts(folder))
        else:
            load_parts(model, folder, stored_parts(folder))
    return model


def _shipped_model(spec: Mapping[str, Any], held: Collection[str]) -> Mllm:
    """With shipped weights; with none, not even drawn ones, if all parts are held elsewhere."""
    whole = _is_whole(spec, held)
    with skip_init() if whole else nullcontext():
        return build_model(
            ModelSpec.from_json(spec["model"]), load_weights=not whole, seed=spec["seed"]
        )


def _is_whole(spec: Mapping[str, Any], held: Collection[str]) -> bool:
    """Whether these are all parts of the model."""
    beside = {"injection"} if "injection" not in spec["model"] else set[str]()
    return {*held, *beside} == {*PARTS}


def blank_model(spec: Mapping[str, Any]) -> Mllm:
    """The model of a training step without weights: tensors on the meta device, shapes alone."""
    with torch.device("meta"):
        return build_model(
            ModelSpec.from_json(spec["model"]), load_weights=False, seed=spec["seed"]
        )


def stored_parts(folder: Path) -> list[str]:
    """The parts of a model whose weights lie in `folder`."""
    names = {"encoders": "encoder-*"}
    return [part for part in PARTS if any(folder.glob(f"{names.get(part, part)}.safetensors"))]
