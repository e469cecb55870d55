"""By which kernel packed conversations attend on a device, which the step's log says."""

import sys

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ablate.decoder import decoder_of
from ablate.model.packing import APART, AT_ONCE, Lengths, attend_apart, attend_at_once

TRIED = [150, 3, 190], [260, 9, 400, 1]
"""Tokens of the conversations that it is tried with: at the second time it is compiled for any."""
NEAR = 0.03
"""The share of their norm by which results of two kernels may differ, in bfloat16, too."""


def packed_attention(llm: PreTrainedModel, device: str, *, half: bool) -> str:
    """The way of `ablate.model.packing` for a device, where it computes in bfloat16 or float32.

    All conversations at once on a GPU, if the language model's attention has no dropout, and if the
    kernel compiles there and has the results of the other way; else each apart, and a line says
    why.
    """
    why = _why_apart(llm, device, torch.bfloat16 if half else torch.float32)
    chosen = f"one conversation after the other: {why}" if why else "all conversations at once"
    print(f"infra.packing: attention of {chosen}", file=sys.stderr)
    return APART if why else AT_ONCE


def _why_apart(llm: PreTrainedModel, device: str, dtype: torch.dtype) -> str:
    if not device.startswith("cuda"):
        return "there is no GPU"
    config = llm.config.get_text_config(decoder=True).to_dict()
    for name, value in config.items():
        if "att" in name and "drop" in name and value:
            return f"{name} of the language model is {value}"
    try:
        require_alike(llm, device, dtype)
    except Exception as error:  # whatever a compiler, or its absence, raises
        return str(error).strip().partition("\n")[0][:200]
    return ""


def require_alike(llm: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
    """RuntimeError unless both ways have the same outputs and gradients, for heads of the model."""
    shape = decoder_of(llm)
    draw = torch.Generator(device).manual_seed(0)
    module = nn.Module()
    module.num_key_value_groups = shape.heads // shape.key_heads  # type: ignore[assignment]

    def drawn(heads: int, places: int) -> Tensor:
        size = 1, heads, places, shape.head_width
        made = torch.randn(size, generator=draw, device=device, dtype=dtype)
        return made.requires_grad_()

    for tokens in TRIED:
        each = shape.heads, shape.key_heads, shape.key_heads
        parts = [drawn(heads, sum(tokens)) for heads in each]
        towards = drawn(shape.heads, sum(tokens)).transpose(1, 2)
        results = []
        for attend in attend_apart, attend_at_once:
            made, _ = attend(module, *parts, None, lengths=Lengths(tokens))
            results.append((made, *torch.autograd.grad(made, parts, towards)))
        for expected, other in zip(*results, strict=True):
            if not (other - expected).norm() <= NEAR * expected.norm():
                raise RuntimeError("the kernel's results are not those of plain attention")
