"""Adapters that tests try, and a part that has one."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from ablate.adapters import Adapter
from ablate.catalog.adapters import ADAPTERS

NEEDS_BITSANDBYTES = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs bitsandbytes"
)
NAMES = [
    pytest.param(name, marks=NEEDS_BITSANDBYTES) if name == "qlora" else name
    for name in ADAPTERS.names()
]
LORA = {"name": "lora", "rank": 4, "alpha": 8.0, "targets": [], "dropout": 0.1}


def attached(name: str, part: nn.Module) -> tuple[Adapter, list[nn.Parameter]]:
    """The part with an adapter by default options, in which all else is frozen."""
    adapter: Adapter = ADAPTERS.build(name)
    torch.manual_seed(0)
    learning = [*adapter.attach(part)]
    part.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    return adapter, learning
