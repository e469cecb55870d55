"""The states of a running stage as safetensors files: nothing in them is ever unpickled.

    <folder>/<steps done>/<rank>.safetensors

Weights and optimizer moments are all there is to keep: the data, the learning rates and the random
numbers of a step follow from its number. Tensors that every process holds are the leader's to
write; of those that are sharded each process writes its share, and they are put together again in
the order of the ranks, for any number of processes and any strategy. A state is there at once, in
one rename.
"""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ablate.files import flush
from ablate.train.devices import local_shard
from ablate.train.zero import is_partitioned, local_moments, set_local_moments
from ablate.worker.process_group import StepRanks

FOLDER = "checkpoint"
"""Where a step's states are, in the folder in which it is made."""
WEIGHT = "weight"


def save(
    folder: Path,
    step: int,
    parts: nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    world: StepRanks,
    fixed: Collection[str] = (),
) -> None:
    """Write the state after `step` steps, durably, and remove the one before.

    parts: the modules that are trained in the stage, by name; fixed: the names in them of weights
    that do not learn, and are not kept.
    """
    tensors = {f"{WEIGHT}:{name}": tensor for name, tensor in _weights(parts, fixed).items()}
    of_rank: dict[str, Tensor] = {}
    for name, parameter in parts.named_parameters():
        cut = is_partitioned(parameter)
        moments = local_moments(parameter, optimizer) if cut else optimizer.state.get(parameter, {})
        named = {f"{kind}:{name}": tensor for kind, tensor in moments.items()}
        (of_rank if cut else tensors).update(named)
    of_rank |= {
        name: tensor.to_local() if isinstance(tensor, DTensor) else tensor
        for name, tensor in tensors.items()
        if world.leads or isinstance(tensor, DTensor)
    }
    draft = folder / f"{step}.partial"
    with world.leader_first():
        if world.leads:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
    if of_rank:
        path = draft / f"{world.rank}.safetensors"
        save_file({name: tensor.detach().contiguous() for name, tensor in of_rank.items()}, path)
        flush(path)
    world.gather()  # all have written
    if world.leads:
        before = [path for path in folder.iterdir() if path != draft]
        flush(draft)
        shutil.rmtree(folder / str(step), ignore_errors=True)  # there only if it is damaged
        draft.replace(folder / str(step))
        flush(folder)
        for path in before:
            shutil.rmtree(path, ignore_errors=True)


def step_of(folder: Path) -> int:
    """The number of steps done in the state below `folder`; 0 where there is none to be read."""
    states = [int(state.name) for state in folder.glob("*") if state.name.isdecimal()]
    for step in sorted(states, reverse=True):
        try:
            Checkpoint(folder, step)
        except SafetensorError:  # damaged by the disk, not by a kill: only time is lost
            continue
        return step
    return 0


class Checkpoint:
    """A state that was saved, to be read a tensor at a time."""

    def __init__(self, folder: Path, step: int) -> None:
        self._files: list[Any] = [safe_open(path, "pt") for path in _files(folder / str(step))]
        self._names = [frozenset(file.keys()) for file in self._files]

    def load_weights(self, parts: nn.ModuleDict, fixed: Collection[str] = ()) -> None:
        """Put the weights into the parts, before they are sharded; those without stay so."""
        with torch.no_grad():
            for name, tensor in _weights(parts, fixed).items():
                if not tensor.is_meta:
                    tensor.copy_(self._tensor(f"{WEIGHT}:{name}"))

    def load_moments(self, parts: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
        """Put the optimizer's moments into `optimizer`, after the parts have been sharded."""
        kinds = {name.partition(":")[0] for names in self._names for name in names} - {WEIGHT}
        for name, parameter in parts.named_parameters():
            moments = {
                kind: self._tensor(f"{kind}:{name}") for kind in kinds if self._has(kind, name)
            }
            if is_partitioned(parameter):
                set_local_moments(parameter, optimizer, moments)
            elif moments:
                optimizer.state[parameter] = {
                    kind: local_shard(moment.reshape(parameter.shape), parameter)
                    if moment.ndim
                    else moment.to(parameter.device)
                    for kind, moment in moments.items()
                }

    def _has(self, kind: str, name: str) -> bool:
        return any(f"{kind}:{name}" in names for names in self._names)

    def _tensor(self, name: str) -> Tensor:
        """The whole tensor, of the shares there are: of its first dimension or, flat, of all."""
        held = zip(self._files, self._names, strict=True)
        shares = [file.get_tensor(name) for file, names in held if name in names]
        return shares[0] if len(shares) == 1 or not shares[0].ndim else torch.cat(shares)


def _files(state: Path) -> list[Path]:
    return sorted(state.glob("*.safetensors"), key=lambda path: int(path.stem))


def _weights(parts: nn.ModuleDict, fixed: Collection[str]) -> dict[str, Tensor]:
    """Parameters once each (tied ones under one name) without `fixed`, and buffers kept."""
    kept = parts.state_dict(keep_vars=True)
    named = [*parts.named_parameters(), *parts.named_buffers()]
    return {name: tensor for name, tensor in named if name in kept and name not in fixed}
