"""The adapters there are: a file each in `ablate/adapters`, or another package's.

Imports no torch.
"""

from collections.abc import Mapping
from typing import Any

from ablate.catalog.parts import Part
from fusion_zoo import Registry

ADAPTERS = Registry("adapter", "ablate.adapters", "ablate.adapters")


def label(adapter: Mapping[str, Any]) -> str:
    """How tables call an adapter of a stage, such as `LoRA r=16`; its name if it is not here."""
    name = str(adapter["name"])
    if name not in ADAPTERS.names():
        return name
    words = {
        option: ", ".join(value) if isinstance(value, list) else value
        for option, value in adapter.items()
    }
    return str(ADAPTERS.constant(name, "LABEL", name)).format_map(words)


def labels(adapters: Mapping[Part, Mapping[str, Any]]) -> str:
    """The adapters of a stage by part, such as `llm LoRA r=16`."""
    return ", ".join(f"{part} {label(adapter)}" for part, adapter in adapters.items())
