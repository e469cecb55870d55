"""Published weights into an encoder: their tensors' names translated, every one accounted for."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ablate.catalog.weights import shards
from ablate.encoders.tensors import distinct
from ablate.errors import UserError
from ablate.files import sha256_file

if TYPE_CHECKING:
    from ablate.encoders.base import Encoder


def load_published(encoder: "Encoder", path: Path, sha256: str | None = None) -> None:
    """Fill `encoder` from the safetensors file `path`, or from all files of an index.

    `Encoder.published` translates the names. Raises UserError naming the file, and the first
    tensor that is missing, unknown, or of another shape; or if `sha256` is given and is not the
    file's.
    """
    require_sha256(path, sha256)
    wanted = distinct(encoder)
    filled = {name for name in wanted if name.startswith(encoder.fresh)}
    for name, tensor in _tensors(path):
        targets = translated(encoder, name, path)
        parts = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        for target, part in zip(targets, parts, strict=False):
            if target not in wanted:
                raise UserError(f"weights {path}: tensor '{name}' is unknown to the model")
            if part.shape != wanted[target].shape:
                got, want = tuple(part.shape), tuple(wanted[target].shape)
                raise UserError(f"weights {path}: tensor '{name}' has shape {got}, not {want}")
            with torch.no_grad():
                wanted[target].copy_(part)
            filled.add(target)
    for name in sorted(wanted.keys() - filled):
        raise UserError(f"weights {path}: nothing in it fills the model's tensor '{name}'")


def require_sha256(path: Path, sha256: str | None) -> None:
    """UserError if `sha256` is given and is not the file's."""
    if sha256 is not None and sha256_file(path) != sha256:
        raise UserError(f"weights {path} are not those expected: sha256 is not {sha256[:12]}...")


def translated(encoder: "Encoder", name: str, path: Path) -> tuple[str, ...]:
    """The encoder's names for a published tensor; none if it is left out on purpose."""
    for pattern, ours in encoder.published.items():
        if match := re.fullmatch(pattern, name):
            names = (ours,) if isinstance(ours, str) else ours or ()
            return tuple(match.expand(template) for template in names)
    raise UserError(
        f"weights {path}: tensor '{name}' is unknown to encoders of the family "
        f"'{encoder.spec.family}'"
    )


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the file, or of the files an index names, one at a time."""
    places = shards(path) if path.name.endswith(".index.json") else None
    for file in sorted({path.parent / shard for shard in places.values()} if places else {path}):
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (it is no dict)
                    yield name, opened.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read weights {file}: {error}") from error
