"""The state of a running stage as one safetensors file: nothing in it is ever unpickled.

Weights and optimizer moments are all there is to keep: the data, the learning rates and the random
numbers of a step follow from its number.
"""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHT = "weight"


def save(path: Path, step: int, parts: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
    """Write the state after `step` steps, durable and in one rename.

    parts: the modules that are trained in the stage, by name.
    """
    tensors = {f"{WEIGHT}:{name}": tensor for name, tensor in _weights(parts).items()}
    for name, parameter in parts.named_parameters():
        moments = optimizer.state.get(parameter, {})
        tensors.update({f"{kind}:{name}": tensor for kind, tensor in moments.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(whole, partial, metadata={"step": str(step)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def step_of(path: Path) -> int:
    """The number of steps done in the state at `path`; 0 where there is none to be read."""
    if not path.is_file():
        return 0
    try:
        with safe_open(path, "pt") as file:
            return int(file.metadata()["step"])
    except SafetensorError:  # damaged by the disk, not by a kill: only time is lost
        return 0


def load_weights(path: Path, parts: nn.ModuleDict) -> None:
    """Put the weights of the state into the parts."""
    with safe_open(path, "pt") as file, torch.no_grad():
        for name, tensor in _weights(parts).items():
            tensor.copy_(file.get_tensor(f"{WEIGHT}:{name}"))


def load_moments(path: Path, parts: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer's moments of the state into `optimizer`."""
    with safe_open(path, "pt") as file:
        names = file.keys()
        stored = [name.partition(":") for name in names]
        for name, parameter in parts.named_parameters():
            kinds = [kind for kind, _, of in stored if of == name and kind != WEIGHT]
            if kinds:
                optimizer.state[parameter] = {
                    kind: file.get_tensor(f"{kind}:{name}").to(parameter.device) for kind in kinds
                }


def _weights(parts: nn.ModuleDict) -> dict[str, Tensor]:
    """Parameters once each (tied ones under one name), and the buffers that are kept."""
    kept = parts.state_dict(keep_vars=True)
    named = [*parts.named_parameters(), *parts.named_buffers()]
    return {name: tensor for name, tensor in named if name in kept}
