"""Weights on disk: safetensors files, written whole or not at all, read with one clear error."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ablate.errors import UserError
from ablate.files import sha256_file, write_atomic


def save_module(module: nn.Module, path: Path, dtype: torch.dtype | None = None) -> None:
    """Write the module's tensors to `path`, floats as `dtype` (None: as they are)."""
    tensors = _distinct(module)
    if dtype is not None:
        tensors = {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}
    save_tensors(tensors, path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors to `path` as safetensors."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, save(own, metadata={"format": "pt"}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UserError if it is missing or damaged."""
    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read weights {path}: {error}") from error
    return tensors


def load_module(module: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Fill `module` from `path`, in the module's own precision.

    Raises UserError naming the file, and the first tensor that is missing, unknown or of another
    shape; or if `sha256` is given and is not the file's.
    """
    tensors = load_tensors(path)
    if sha256 is not None and sha256_file(path) != sha256:
        raise UserError(f"weights {path} are not those expected: sha256 is not {sha256[:12]}...")
    wanted = _distinct(module)
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise UserError(f"weights {path}: tensor '{name}' is missing")
        if name not in wanted:
            raise UserError(f"weights {path}: tensor '{name}' is unknown to the model")
        if tensors[name].shape != wanted[name].shape:
            got, want = tuple(tensors[name].shape), tuple(wanted[name].shape)
            raise UserError(
                f"weights {path}: tensor '{name}' has shape {got}, the model's is {want}"
            )
    module.load_state_dict(tensors, strict=False)  # tied tensors come under one name only


def _distinct(module: nn.Module) -> dict[str, Tensor]:
    """The module's tensors, each once: tied ones under the first of their names."""
    names: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), (name, tensor))
    return dict(names.values())
