"""Adapters on a model's parts, while a stage trains them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ablate.adapters import Adapter
from ablate.catalog.adapters import ADAPTERS, label
from ablate.catalog.parts import Part
from ablate.encoders.tensors import seeded
from ablate.model.mllm import Mllm


class Adapted(NamedTuple):
    """An adapter that is attached to a part, and what learns in the part by it."""

    adapter: Adapter
    learning: Sequence[nn.Parameter]
    label: str


def attach_adapters(
    model: Mllm, adapters: Mapping[Part, Mapping[str, Any]], seed: int
) -> dict[str, Adapted]:
    """Attach a stage's adapters, named with their options by part; `seed` decides how they start.

    UserError or ValueError where a part has no place for its adapter.
    """
    adapted = dict[str, Adapted]()
    with seeded(seed):
        for part, given in adapters.items():
            adapter: Adapter = ADAPTERS.build(**given)
            learning = adapter.attach(model.parts[part])
            adapted[part] = Adapted(adapter, learning, label(given))
    return adapted


def merge_adapters(model: Mllm, adapted: Mapping[str, Adapted]) -> None:
    """Fold what was learnt into the parts, which then are as if they had been trained whole."""
    with torch.no_grad():
        for part, each in adapted.items():
            each.adapter.merge(model.parts[part])
