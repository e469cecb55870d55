"""The states of a running stage as safetensors files: nothing in them is ever unpickled.

    <folder>/<steps done>/<rank>.safetensors

Weights and optimizer moments are all there is to keep: the data, the learning rates and the random
numbers of a step follow from its number. Tensors that every process holds are the leader's to
write; of those that are sharded each process writes its share, and they are put together again in
the order of the ranks, for any number of processes and any strategy. A state is there at once, in
one rename.
"""

import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ablate.files import flush
from ablate.polling import wait_until
from ablate.train.devices import local_shard
from ablate.train.zero import is_partitioned, local_moments, set_local_moments
from ablate.worker.process_group import StepRanks

FOLDER = "checkpoint"
"""Where a step's states are, in the folder in which it is made."""
WEIGHT = "weight"
LOOK = 0.05
"""Seconds between two looks whether the other processes have written their shares."""
LAST = 10.0
"""Seconds that a process which failed gives the leader to make a state of the last shares."""


class CheckpointWriter:
    """Writes the states of a stage while it trains on, one at a time.

    Training waits for a copy in the host's memory alone, which a thread of each process writes. The
    leader's looks on until all shares are there, and then makes them the state: no process has to
    meet another for it, and a kill finds this state whole or the one before.

    fixed: the names in the parts of weights that do not learn, and are not kept.
    """

    def __init__(self, folder: Path, world: StepRanks, fixed: Collection[str] = ()) -> None:
        self.folder, self.world, self.fixed = folder, world, fixed
        self._copies: dict[str, Tensor] = {}
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Let the last state come to be there, also where training ended with an error.

        An error of another process ends the leader as soon as it is told, so that one waits.
        """
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()
            if issubclass(kind, Exception) and not self.world.leads:
                wait_until(LAST, lambda: not any(self.folder.glob("*.partial")), LOOK)

    @property
    def busy(self) -> bool:
        """Whether a state is still being written: the leader's, by any process."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, step: int, parts: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
        """Begin to write the state after `step` steps, once the one before is there.

        parts: the modules that are trained in the stage, by name.
        """
        self.wait()
        tensors, sharers = _state(parts, optimizer, self.world, self.fixed)
        self._copies = _on_host(tensors, self._copies)
        draft = self.folder / f"{step}.partial"
        with self.world.leader_first():
            if self.world.leads:
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
        self._thread = Thread(target=self._write, args=(step, draft, sharers), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the state is there. Raises as `check` does."""
        if self._thread is not None:
            self._thread.join()
        self.check()

    def check(self) -> None:
        """Raises what a state could not be written for, such as the OSError of a full disk."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, step: int, draft: Path, sharers: int) -> None:
        try:
            if self.world.rank < sharers:
                _write_share(draft / f"{self.world.rank}.safetensors", self._copies)
            if self.world.leads:
                while len(_files(draft)) < sharers:
                    time.sleep(LOOK)
                commit(self.folder, step)
        except Exception as error:
            self._error = error


def commit(folder: Path, step: int) -> None:
    """Make a draft whose files are all there the state after `step` steps; the one before goes."""
    draft = folder / f"{step}.partial"
    before = [path for path in folder.iterdir() if path != draft]
    flush(draft)
    shutil.rmtree(folder / str(step), ignore_errors=True)  # there only if it is damaged
    draft.replace(folder / str(step))
    flush(folder)
    for path in before:
        shutil.rmtree(path, ignore_errors=True)


def _state(
    parts: nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    world: StepRanks,
    fixed: Collection[str],
) -> tuple[dict[str, Tensor], int]:
    """This process's part of the state, by name, and how many processes have one."""
    tensors = {f"{WEIGHT}:{name}": tensor for name, tensor in _weights(parts, fixed).items()}
    of_rank: dict[str, Tensor] = {}
    for name, parameter in parts.named_parameters():
        cut = is_partitioned(parameter)
        moments = local_moments(parameter, optimizer) if cut else optimizer.state.get(parameter, {})
        named = {f"{kind}:{name}": tensor for kind, tensor in moments.items()}
        (of_rank if cut else tensors).update(named)
    meshes = [tensor.device_mesh for tensor in tensors.values() if isinstance(tensor, DTensor)]
    partitioned = any(map(is_partitioned, parts.parameters()))
    # of a mesh of nodes and devices the first node's hold all
    sharers = meshes[0].size(meshes[0].ndim - 1) if meshes else world.size if partitioned else 1
    of_rank |= {
        name: tensor.to_local() if isinstance(tensor, DTensor) else tensor
        for name, tensor in tensors.items()
        if world.leads or isinstance(tensor, DTensor)
    }
    return of_rank, sharers


def _on_host(tensors: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors in the host's memory, in that of those made before where they fit."""
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        copy = before.get(name)
        if copy is None or (copy.shape, copy.dtype) != (tensor.shape, tensor.dtype):
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        copies[name] = copy.copy_(tensor.detach(), non_blocking=True)
    if any(tensor.is_cuda for tensor in tensors.values()):
        torch.cuda.synchronize()
    return copies


def _write_share(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a process's file, which is seen by its name once it is whole."""
    draft = path.with_suffix(".partial")
    save_file(dict(tensors), draft)
    flush(draft)
    draft.replace(path)


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
