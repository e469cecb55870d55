"""Weights on disk: safetensors files, written whole or not at all, read with one clear error."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.catalog.weights import safetensors_name, shards
from ablate.errors import UserError
from ablate.files import atomic_file, sha256_file, write_json


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn inside depends on the seed alone, and changes no draw outside."""
    with torch.random.fork_rng(devices=[]):
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # the above notes the stack for each kind of GPU that may come, which takes ms
            torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def skip_init() -> Iterator[None]:
    """While a module is built inside, its parameters are not drawn at random.

    They are to be loaded, every one, and drawing those of a large model takes minutes. Each is its
    distribution's middle until then, which ends any drawing anew of what lies too far from it.
    Whatever else is made (buffers, positions) is made as ever.
    """
    with _Middle():  # type: ignore[no-untyped-call]
        yield


class _Middle(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.normal_.default:  # tensor, mean, deviation
            return args[0].fill_(args[1] if len(args) > 1 else 0.0)
        if func is torch.ops.aten.uniform_.default:  # tensor, from, to
            low, high = args[1:] + (0.0, 1.0)[len(args) - 1 :]
            return args[0].fill_((low + high) / 2)
        return func(*args, **(kwargs or {}))


def save_module(module: nn.Module, path: Path, dtype: torch.dtype | None = None) -> None:
    """Write the module's tensors to `path`, floats as `dtype` (None: as they are)."""
    tensors = distinct(module)
    if dtype is not None:
        tensors = {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}
    save_tensors(tensors, path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors to `path` as safetensors, without a copy of them in memory."""
    copies = {name: _whole(tensor.detach().cpu().contiguous()) for name, tensor in tensors.items()}
    with atomic_file(path) as draft:
        save_file(copies, draft, metadata={"format": "pt"})


def _whole(tensor: Tensor) -> Tensor:
    """The tensor, copied where it is a part of something larger: safetensors refuses those."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def load_module(module: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Fill `module` from `path`, a tensor at a time, in the module's own precision.

    Raises UserError naming the file, and the first tensor that is missing, unknown or of another
    shape; or if `sha256` is given and is not the file's.
    """
    wanted = distinct(module)
    try:
        with safe_open(path, framework="pt") as file:
            if sha256 is not None and sha256_file(path) != sha256:
                expected = f"sha256 is not {sha256[:12]}..."
                raise UserError(f"weights {path} are not those expected: {expected}")
            held = frozenset(file.keys())
            for name in sorted(wanted.keys() | held):
                if name not in held:
                    raise UserError(f"weights {path}: tensor '{name}' is missing")
                if name not in wanted:
                    raise UserError(f"weights {path}: tensor '{name}' is unknown to the model")
                got, want = tuple(file.get_slice(name).get_shape()), tuple(wanted[name].shape)
                if got != want:
                    raise UserError(
                        f"weights {path}: tensor '{name}' has shape {got}, the model's is {want}"
                    )
            with torch.no_grad():
                for name, tensor in wanted.items():
                    tensor.copy_(file.get_tensor(name))
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read weights {path}: {error}") from error


def distinct(module: nn.Module) -> dict[str, Tensor]:
    """The module's tensors, each once: tied ones under the first of their names."""
    names: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), (name, tensor))
    return dict(names.values())


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a published pickle `source` as the safetensors file `target`.

    An index (`*.bin.index.json`) is converted with those of its shards that are not yet there
    beside the target.
    Only tensors and plain values are unpickled, no code is run, and the file is mapped, not read
    into memory. Raises UserError if the source holds anything else, or no tensors.
    """
    if source.name.endswith(".index.json"):
        held_in = shards(source)
        for shard in sorted(set(held_in.values())):
            converted = target.parent / safetensors_name(shard)
            if not converted.is_file():
                convert(source.parent / shard, converted)
        names = {name: safetensors_name(shard) for name, shard in held_in.items()}
        write_json(target, {"metadata": {}, "weight_map": names})
        return
    try:
        mapped = is_zipfile(source)  # not so before torch 1.6
        held = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"cannot read weights {source}: {first}") from error
    tensors, seen = {}, set()
    for name, tensor in _state(held).items():
        again = tensor.untyped_storage().data_ptr() in seen  # safetensors holds nothing twice
        seen.add(tensor.untyped_storage().data_ptr())
        tensor = tensor.clone() if again else tensor
        tensors[name] = tensor.contiguous()
    if not tensors:
        raise UserError(f"weights {source}: there are no tensors in it")
    with atomic_file(target) as draft:
        save_file(tensors, draft, metadata={"format": "pt"})


def _state(held: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint, which may lie under "model" or "state_dict" in it."""
    for inside in ("model", "state_dict"):
        if isinstance(held, dict) and isinstance(held.get(inside), dict):
            held = held[inside]
    items = held.items() if isinstance(held, dict) else ()
    return {str(name): tensor for name, tensor in items if isinstance(tensor, Tensor)}
