"""A model's parts on disk, each on its own, and the table of what is trained."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import nn

from ablate.encoders.tensors import load_module, save_module
from ablate.errors import UserError, nearest
from ablate.model.mllm import Mllm


def save_parts(model: Mllm, folder: Path, parts: Iterable[str]) -> None:
    """Write parts of `model` ("encoders", "fusion", "projector", "llm") into `folder`.

    `<part>.safetensors`; each encoder on its own, `encoder-<name>_<resolution>.safetensors`.
    """
    for name, module in _files(model, parts).items():
        save_module(module, folder / name)


def load_parts(model: Mllm, folder: Path, parts: Iterable[str]) -> None:
    """Fill parts of `model` from what `save_parts` wrote into `folder`.

    Raises UserError naming the file, and the tensor, that is missing, damaged, or does not fit.
    """
    for name, module in _files(model, parts).items():
        load_module(module, folder / name)


def parameter_table(model: Mllm, adapters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """A row for each encoder and part: {"part", "parameters", "trainable"} (both numbers).

    `adapters`: what a part with an adapter has in its rows as "adapter", by part.
    """
    return [
        {
            "part": name.removesuffix(".safetensors"),
            "parameters": sum(p.numel() for p in module.parameters()),
            "trainable": sum(p.numel() for p in module.parameters() if p.requires_grad),
            **({"adapter": adapters[part]} if adapters and part in adapters else {}),
        }
        for part in model.parts
        for name, module in _files(model, [part]).items()
    ]


def encoder_file(title: str) -> str:
    """The name of the file of an encoder's weights; of what no file's name may have, its code."""
    return f"encoder-{quote(title.replace('@', '_'), safe='')}.safetensors"


def _files(model: Mllm, parts: Iterable[str]) -> dict[str, nn.Module]:
    files: dict[str, nn.Module] = {}
    for part in parts:
        if part not in model.parts:
            raise UserError(f"a model has no part '{part}'{nearest(part, model.parts)}")
        if part == "encoders":
            named = zip(model.spec.encoders, model.mixture.encoders, strict=True)
            files |= {encoder_file(spec.title): encoder for spec, encoder in named}
        else:
            files[f"{part}.safetensors"] = model.parts[part]
    return files
