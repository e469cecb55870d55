"""A stage on several devices: one process for each, which share every step's batch.

Each process sums the gradients of its share of the samples; once a step they are added up over all,
so the step is that of one device with the whole batch. `ddp` keeps a whole model on every device.
`fsdp` (torch's `fully_shard`) keeps a share of each tensor, of weights, gradients and moments, and
brings a block's weights together while it is at work; `hsdp` does so within each node. In both the
leader alone reads weights and sends them to the others a block at a time. `deepspeed` is in
`ablate.train.zero`; `ablate.train.sharing` tells what each of them does otherwise.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.worker.process_group import LOOPBACK, StepRanks


class Environment(ClusterEnvironment):  # type: ignore[misc]
    """What Lightning asks of where it runs: it neither starts processes nor connects them."""

    creates_processes_externally = True
    main_address, main_port = LOOPBACK, 0  # not used: the processes are connected already

    def __init__(self, world: StepRanks) -> None:
        super().__init__()
        self.world = world

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.world.size

    def set_world_size(self, size: int) -> None:
        if size != self.world.size:
            raise UserError(f"{self.world.size} devices were asked for, but Lightning has {size}")

    def global_rank(self) -> int:
        return self.world.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.world.rank

    def local_rank(self) -> int:
        return self.world.local

    def node_rank(self) -> int:
        return self.world.rank // self.world.devices


@contextmanager
def process_group(world: StepRanks, device: str, disconnect: Callable[[], None]) -> Iterator[None]:
    """The processes of a step connected for the collectives of torch, until they `disconnect`.

    After an exception they stay so: others may wait in one, and are ended with their team.
    """
    if world.size == 1:
        yield
        return
    near = world.nodes == 1
    if near:  # what listens does so on the loopback interface only
        os.environ |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), _loopback())
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    with socket.create_server((LOOPBACK if near else "", 0)) as server:
        address = [LOOPBACK if near else socket.gethostname(), server.getsockname()[1]]
        host, port = world.agree(address)
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            host,
            port,
            world.size,
            world.leads,
            master_listen_fd=server.detach() if world.leads else None,
        )
    distributed.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        store=store,
        rank=world.rank,
        world_size=world.size,
    )
    yield
    disconnect()


def _loopback() -> str:
    return "lo0" if sys.platform == "darwin" else "lo"


def summed(world: StepRanks, *numbers: Tensor) -> list[float]:
    """Each number's sum over the processes."""
    total = torch.stack([number.double() for number in numbers])
    if world.size > 1:
        distributed.all_reduce(total)
    return total.tolist()


def total(norm: Tensor) -> float:
    """A norm that may be over distributed tensors."""
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def shard(model: Mllm, mesh: DeviceMesh, world: StepRanks) -> None:
    """Leave on each device of the mesh its share of every parameter; see `fully_shard`.

    The leader's model is whole, the others' has shapes alone: what they share comes from the
    leader. Blocks are what a `Sequential` or `ModuleList` of an encoder or the language model
    holds, if they have modules of their own. Raises `UserError` where the leader's weights are not
    those that the language model's config describes.
    """
    model.in_lockstep = True
    shapes = [list(parameter.shape) for parameter in model.parameters()]
    if world.agree(shapes) != shapes:
        raise UserError(
            f"llm '{model.spec.llm.name}': its files hold other tensors than its config.json says; "
            "is tie_word_embeddings right in it?"
        )
    for part in [*model.mixture.encoders, model.llm]:
        lists = [
            module for module in part.modules() if isinstance(module, nn.Sequential | nn.ModuleList)
        ]
        for blocks in reversed(lists):  # what is inside comes first
            for block in blocks:
                if any(True for _ in block.children()):
                    _shard(block, mesh)
    _shard(model, mesh)


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Give all devices the leader's tensors, but for those of blocks inside, and share them out."""
    sent: dict[Tensor, Tensor] = {}  # tied ones stay tied
    for submodule in module.modules():
        named = [
            *submodule.named_parameters(recurse=False),
            *submodule.named_buffers(recurse=False),
        ]
        for name, tensor in named:
            if isinstance(tensor, DTensor):
                continue
            if tensor not in sent:
                sent[tensor] = _sent(tensor, torch.device(mesh.device_type))
            setattr(submodule, name, sent[tensor])
    fully_shard(module, mesh=mesh)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The leader's tensor, on this process's device."""
    if tensor.is_meta:
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    else:
        copy = tensor.detach().to(device).contiguous()
    distributed.broadcast(copy, 0)
    learns = tensor.requires_grad
    return nn.Parameter(copy, requires_grad=learns) if isinstance(tensor, nn.Parameter) else copy


def gather_full(part: nn.Module, world: StepRanks) -> None:
    """Make a part's parameters whole again in the leader, on the CPU; called by all processes."""
    whole: dict[Tensor, nn.Parameter] = {}  # tied ones stay tied
    for module in part.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not isinstance(parameter, DTensor):
                continue
            tensor = parameter.full_tensor().detach()
            if world.leads:
                learns = parameter.requires_grad
                gathered = whole.setdefault(
                    parameter, nn.Parameter(tensor.cpu(), requires_grad=learns)
                )
                setattr(module, name, gathered)


def local_shard(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, cut as `like` is; a number is everybody's."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor) or tensor.ndim == 0:
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
