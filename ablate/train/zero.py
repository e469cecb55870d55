"""A stage whose processes share gradients and moments by DeepSpeed's ZeRO, stage 2.

Every device holds all weights. Of each of the optimizer's groups it holds one piece of the
gradients and moments of all its parameters laid end to end, the next process the next piece.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor


class Zero(DeepSpeedStrategy):  # type: ignore[misc]
    """Lightning's strategy for processes that are connected already, also on a CPU.

    It follows Lightning's count of micro-batches in place of DeepSpeed's own, and computes in
    bfloat16 as the other strategies do: in autocast, with weights and sums of gradients in float32.
    clip: the largest norm of a gradient; half: whether it computes in bfloat16.
    """

    handles_gradient_accumulation = False

    def __init__(self, device: str, clip: float, half: bool) -> None:
        cuda = device.startswith("cuda")
        os.environ["DS_ACCELERATOR"] = "cuda" if cuda else "cpu"  # read as it is imported
        config = {
            "train_micro_batch_size_per_gpu": 1,  # for its own log alone
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": clip,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {"stage": 2, "overlap_comm": cuda},
            "torch_autocast": {
                "enabled": half,
                "dtype": "bfloat16",
                "lower_precision_safe_modules": [],  # none whose gradients meet in bfloat16
            },
        }
        super().__init__(config=config, precision_plugin=DeepSpeedPrecision("32-true"))
        self._config_initialized = True  # Lightning has nothing to add

    @property
    def root_device(self) -> torch.device:
        device: torch.device = super().root_device
        return torch.device(device.type, device.index or 0)  # DeepSpeed asks for a number

    def setup_environment(self) -> None:
        DDPStrategy.setup_environment(self)  # Lightning's own refuses a CPU

    def setup_distributed(self) -> None:
        from deepspeed import ops

        # On a CPU it would be compiled by each user, for a minute, and serves inference alone.
        getattr(ops, "__compatible_ops__", {})["deepspeed_shm_comm"] = False
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def block_backward_sync(self) -> AbstractContextManager[None]:
        return nullcontext()  # only a reduced gradient can be shared out

    @property
    def norm(self) -> float:
        """The norm of the whole gradient of the last step, before it was clipped.

        Where it is not finite, the step was not taken.
        """
        return float(self.deepspeed_engine.get_global_grad_norm())


def disconnect() -> None:
    """End the process group, with the groups that DeepSpeed has made of it.

    The variables by which Lightning tells it of the processes go, too: to libraries that a later
    step imports, such as accelerate, they would mean that there is a group.
    """
    import deepspeed.comm

    deepspeed.comm.destroy_process_group()
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)


def is_partitioned(parameter: Tensor) -> bool:
    """Whether DeepSpeed has cut the moments of this parameter."""
    return hasattr(parameter, "_hp_mapping")


def local_moments(parameter: Any, optimizer: Any) -> dict[str, Tensor]:
    """What this process holds of a parameter's moments, by kind, each flat; `{}` if nothing."""
    mine = parameter._hp_mapping
    if mine is None:
        return {}
    [flat] = optimizer.param_groups[mine.param_group_index]["params"]
    fragment = mine.get_hp_fragment_address()
    return {
        kind: moment.narrow(0, fragment.start, fragment.numel) if moment.ndim else moment.clone()
        for kind, moment in optimizer.state.get(flat, {}).items()
    }


def set_local_moments(parameter: Any, optimizer: Any, moments: Mapping[str, Tensor]) -> None:
    """Let this process hold its pieces of a parameter's whole moments."""
    mine = parameter._hp_mapping
    if mine is None:
        return
    [flat] = optimizer.param_groups[mine.param_group_index]["params"]
    state, start = optimizer.state[flat], mine.lp_fragment_address.start
    for kind, moment in moments.items():
        if not moment.ndim:
            state[kind] = moment.to(flat.device)
            continue
        if kind not in state:
            state[kind] = torch.zeros_like(flat)
        fragment = mine.get_hp_fragment_address()
        piece = moment.flatten().narrow(0, start, fragment.numel)
        state[kind].narrow(0, fragment.start, fragment.numel).copy_(piece)
