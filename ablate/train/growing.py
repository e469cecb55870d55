"""A model that begins as a smaller one: the same function, with further experts still unheard.

As Net2Net (Chen et al. 2016, arXiv 1511.05641) grows networks: what is new is added with zeros
where its values would enter, so that step 0 computes what the smaller one does. Here these are the
columns of the projector's first layer that read the new experts' channels; they learn from the
first step on, and the experts from the second.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ablate.catalog.model_spec import ModelSpec
from ablate.encoders.tensors import load_module
from ablate.errors import UserError
from ablate.files import read_json
from ablate.model.mllm import Mllm
from ablate.model.parts import encoder_file, load_parts

WIDENED = "projector"


def grow(model: Mllm, folder: Path, parts: list[str]) -> None:
    """Give `model` the function of a smaller one, whose trained `parts` lie in `folder`.

    Its encoders are the first of the model's, in order; its fusion `grows` (see `Fusion`). What it
    has not trained is as shipped in both. Raises UserError where a file does not fit.
    """
    before = ModelSpec.from_json(read_json(folder / "spec.json")["spec"]["model"])
    titles = [encoder.title for encoder in before.encoders]
    here = [encoder.title for encoder in model.spec.encoders]
    if here[: len(titles)] != titles or not model.mixture.fusion.grows:
        raise UserError(f"{'+'.join(here)} does not begin as {'+'.join(titles)} in {folder}")
    if "encoders" in parts:
        for title, encoder in zip(titles, model.mixture.encoders, strict=False):
            load_module(encoder, folder / encoder_file(title))
    load_parts(model, folder, [part for part in parts if part not in ("encoders", WIDENED)])
    if WIDENED in parts:
        _widen(model.projector, folder / f"{WIDENED}.safetensors")


def _widen(projector: nn.Module, path: Path) -> None:
    """Fill a projector from a narrower one's file; what reads further channels is zero."""
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read weights {path}: {error}") from error
    with torch.no_grad():
        for name, tensor in projector.state_dict(keep_vars=True).items():
            narrow = stored.get(name)
            if narrow is None or narrow.shape[:1] != tensor.shape[:1] or narrow.ndim != tensor.ndim:
                raise UserError(f"weights {path}: tensor '{name}' does not fit the projector's")
            tensor.zero_()
            tensor[..., : narrow.shape[-1]] = narrow
