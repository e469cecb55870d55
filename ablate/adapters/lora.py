"""Low-rank updates beside linear layers, whose own weights stay (LoRA).

Hu et al. 2021 (arXiv 2106.09685): W x + alpha / rank * B A x, with A (rank, in) drawn at random and
B (out, rank) zero at first. By the `peft` library. All linear layers by default, as in QLoRA
(Dettmers et al. 2023) and LLaVA's scripts, not the attention's alone.
"""

import re
from collections.abc import Sequence
from typing import Any

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ablate.adapters import Adapter, linear_layers
from ablate.errors import UserError, nearest

LABEL = "LoRA r={rank}"


class Lora(Adapter):
    """rank, alpha: see above; targets: names of linear layers, `q_proj` or more of its path, ()
    for all; dropout: the share of x that is dropped before A.

    UserError for a number out of range, or a name that no linear layer of the part has.
    """

    weight_decomposed = False

    def __init__(
        self,
        *,
        rank: int = 16,
        alpha: float = 32.0,
        targets: Sequence[str] = (),
        dropout: float = 0.0,
    ) -> None:
        if rank < 1:
            raise UserError(f"rank is {rank}; the least is 1")
        if alpha <= 0:
            raise UserError(f"alpha is {alpha}; a number above 0 is needed")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout is {dropout}; from 0 to below 1 is possible")
        self.rank, self.alpha, self.targets, self.dropout = rank, alpha, targets, dropout

    def attach(self, part: nn.Module) -> list[nn.Parameter]:
        names = "|".join(map(re.escape, self.chosen(part)))
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=f"({names})",  # an expression, which peft matches with whole names
            lora_dropout=self.dropout,
            use_dora=self.weight_decomposed,
        )
        peft.inject_adapter_in_model(config, part)
        return [parameter for parameter in part.parameters() if parameter.requires_grad]

    def merge(self, part: nn.Module) -> None:
        for name, layer in self.attached(part).items():
            layer.merge()
            part.set_submodule(name, layer.get_base_layer())
        del part.peft_config

    @staticmethod
    def attached(part: nn.Module) -> dict[str, Any]:
        """The layers that have the adapter, by name."""
        modules = part.named_modules()
        return {name: layer for name, layer in modules if isinstance(layer, BaseTunerLayer)}

    def chosen(self, part: nn.Module) -> list[str]:
        """The names of the layers that are targets."""
        layers = linear_layers(part)
        if not layers:
            raise UserError("there are no linear layers in it; give a rate alone to train it whole")
        for target in self.targets:
            if not any(_ends(name, target) for name in layers):
                ends = {name.rpartition(".")[2] for name in layers}
                raise UserError(f"there is no linear layer '{target}' in it{nearest(target, ends)}")
        wanted = self.targets
        return [n for n in layers if not wanted or any(_ends(n, target) for target in wanted)]


def _ends(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")
