"""How the processes of a step share its work: chosen once, by `infra.strategy`."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.optim import Optimizer

from ablate.config.infra import require_deepspeed
from ablate.model.mllm import Mllm
from ablate.train.devices import Environment, shard, total
from ablate.train.zero import Zero, disconnect
from ablate.worker.process_group import StepRanks

Drop = Callable[..., None]
"""Takes gradients away that are none, of an optimizer's parameters."""


class Sharing:
    """One process, alone. `leader_reads`: of several the leader alone reads the model's weights."""

    leader_reads = False

    def options(self, world: StepRanks, device: str, clip: float, half: bool) -> dict[str, Any]:
        """What Lightning's Trainer is told of the devices; clip and half: see `Zero`."""
        return {"devices": 1, "plugins": [LightningEnvironment()]}

    def place_model(self, model: Mllm, module: LightningModule, world: StepRanks) -> bool:
        """Prepare the model that `module` trains; whether its weights are shared out now."""
        return False

    def hook(self, optimizer: Optimizer, drop: Drop) -> None:
        """Let the optimizer `drop` gradients where `clip` does not."""

    def clip(self, optimizer: Optimizer, drop: Drop, limit: float) -> float | None:
        """Drop and clip the gradients before a step; their norm before that, where it is known."""
        drop(optimizer)
        parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]
        return total(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def norm(self) -> float | None:
        """The norm of the gradient of the step that was done, where `clip` did not know it."""
        return None

    def disconnect(self) -> None:
        """Leave the group of the processes."""


class Shared(Sharing):
    """Several processes, each with all weights, which add up their gradients (DDP)."""

    def options(self, world: StepRanks, device: str, clip: float, half: bool) -> dict[str, Any]:
        return {
            "devices": world.devices,
            "num_nodes": world.nodes,
            "strategy": self.lightning(world, device, clip, half),
            "plugins": [Environment(world)],
        }

    def lightning(self, world: StepRanks, device: str, clip: float, half: bool) -> Strategy:
        """Lightning's name for it."""
        # Which parameters a step uses depends on its samples and its number.
        return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)

    def disconnect(self) -> None:
        distributed.destroy_process_group()


class Sharded(Shared):
    """Several processes, each with a share of every tensor (`fully_shard`)."""

    leader_reads = True

    def lightning(self, world: StepRanks, device: str, clip: float, half: bool) -> Strategy:
        return ModelParallelStrategy(data_parallel_size=world.size, tensor_parallel_size=1)

    def mesh(self, module: LightningModule, world: StepRanks) -> DeviceMesh:
        """The devices that hold a share each."""
        mesh: DeviceMesh = module.device_mesh["data_parallel"]
        return mesh

    def place_model(self, model: Mllm, module: LightningModule, world: StepRanks) -> bool:
        shard(model, self.mesh(module, world), world)
        return True


class ShardedWithinNodes(Sharded):
    """The same within each node, whose gradients are added up over the nodes (HSDP)."""

    def mesh(self, module: LightningModule, world: StepRanks) -> DeviceMesh:
        kind = module.device_mesh.device_type
        shape = (world.nodes, world.devices)
        return init_device_mesh(kind, shape, mesh_dim_names=("nodes", "devices"))


class Zeroed(Shared):
    """Several processes, each with a share of gradients and moments (DeepSpeed's ZeRO).

    Gradients are there in the optimizer's step alone, which clips them. Raises UserError where
    DeepSpeed is not installed.
    """

    def __init__(self) -> None:
        require_deepspeed()

    def lightning(self, world: StepRanks, device: str, clip: float, half: bool) -> Strategy:
        self._zero = Zero(device, clip, half)
        return self._zero

    def place_model(self, model: Mllm, module: LightningModule, world: StepRanks) -> bool:
        model.in_lockstep = True  # all reduce the gradients of the same parameters
        return False

    def hook(self, optimizer: Optimizer, drop: Drop) -> None:
        optimizer.register_step_pre_hook(drop)

    def clip(self, optimizer: Optimizer, drop: Drop, limit: float) -> float | None:
        return None

    def norm(self) -> float | None:
        return self._zero.norm

    def disconnect(self) -> None:
        disconnect()


SHARINGS: dict[str, type[Sharing]] = {
    "ddp": Shared,
    "fsdp": Sharded,
    "hsdp": ShardedWithinNodes,
    "deepspeed": Zeroed,
}
"""What `infra.strategy` names."""
