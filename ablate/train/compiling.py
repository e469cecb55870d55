"""Layers of a model compiled by `torch.compile`, one by one: many are alike, and compiled once."""

import logging
import sys

import torch

from ablate.decoder import find_blocks
from ablate.model.mllm import Mllm


def compile_layers(model: Mllm, device: str) -> bool:
    """Compile the encoders and each block of the language model; whether that is possible.

    It is done as the first steps call them. Where there is no compiler for the device, one line
    says so, and everything is computed as without; so is a single layer that cannot be compiled,
    and blocks that something is injected into.
    """
    try:
        probe = torch.compile(_probe, dynamic=True)
        torch.autograd.backward(probe(torch.ones(3, device=device, requires_grad=True)))
    except Exception as error:  # whatever a compiler, or its absence, raises
        reason = str(error).strip().partition("\n")[0][:200]
        print(f"infra.compile: nothing is compiled here: {reason}", file=sys.stderr)
        return False
    torch._dynamo.config.suppress_errors = True
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    for encoder in model.mixture.all_encoders:
        encoder.maps = torch.compile(encoder.maps)  # type: ignore[method-assign]
    for block in () if model.is_injected else find_blocks(model.llm):
        block.compile(dynamic=True)  # lengths differ from batch to batch
    return True


def _probe(numbers: torch.Tensor) -> torch.Tensor:
    return (2 * numbers).sin().sum()
