"""LoRA beside linear layers whose own weights are held in four bits (QLoRA).

Dettmers et al. 2023 (arXiv 2305.14314): NF4 in blocks of 64 with doubly quantised scales, by
`bitsandbytes`; LoRA by `peft`. What is stored afterwards are the weights as they were used, out of
four bits, with what was learnt folded in: the part is then a little other than it was before
anything was learnt.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablate.adapters import linear_layers
from ablate.adapters.lora import Lora
from ablate.errors import UserError

LABEL = "QLoRA r={rank}"

SAVED = 4 - 0.516
"""Bytes of a weight in float32 less those in four bits, with the scales of its block."""


class Qlora(Lora):
    """The options of `Lora`; the layers that are targets are held in four bits.

    UserError without the package bitsandbytes, or for a layer that is no plain linear one.
    """

    exact = False

    def __init__(
        self,
        *,
        rank: int = 16,
        alpha: float = 32.0,
        targets: Sequence[str] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(rank=rank, alpha=alpha, targets=targets, dropout=dropout)

    def attach(self, part: nn.Module) -> list[nn.Parameter]:
        bits = _bitsandbytes()
        layers = linear_layers(part)
        for name in self.chosen(part):
            layer = layers[name]
            if type(layer) is not nn.Linear:
                raise UserError(
                    f"{name} is {type(layer).__name__}, which has no form in four bits; take lora"
                )
            part.set_submodule(name, _quantised(layer, bits))
        return super().attach(part)

    def bytes_saved(self, part: nn.Module) -> int:
        weights = [part.get_parameter(f"{name}.weight") for name in self.chosen(part)]
        return int(SAVED * sum(weight.numel() for weight in weights))

    def merge(self, part: nn.Module) -> None:
        for name, layer in self.attached(part).items():
            part.set_submodule(name, _whole(layer, _bitsandbytes()))
        del part.peft_config


def _bitsandbytes() -> Any:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise UserError(
            "qlora needs the package bitsandbytes, which is not installed: pip install "
            "'ablate-vlm[qlora]', or take lora"
        ) from error


def _quantised(layer: nn.Linear, bits: Any) -> nn.Module:
    """The layer in four bits; on the meta device as large as it was."""
    held: nn.Module = bits.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        quant_type="nf4",
        compute_dtype=torch.float32,  # or autocast's
        device="meta",
    )
    weight = bits.nn.Params4bit(
        layer.weight.data, requires_grad=False, quant_type="nf4", module=held
    )
    held.weight = weight if layer.weight.is_meta else weight.to(layer.weight.device)
    held.bias = layer.bias
    return held


def _whole(layer: Any, bits: Any) -> nn.Linear:
    """A layer with its adapter as one linear layer in float32."""
    held, dropped = layer.get_base_layer(), layer.get_delta_weight("default")
    weight: Tensor = bits.functional.dequantize_4bit(held.weight.data, held.weight.quant_state)
    whole = nn.Linear(held.in_features, held.out_features, held.bias is not None, device="meta")
    whole.weight = nn.Parameter(weight.float() + dropped)
    whole.bias = held.bias
    return whole
