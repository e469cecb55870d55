"""Ways in which a language model takes in the visual tokens of images, one file each.

    injection = INJECTIONS.build("gated_cross_attention", decoder, every=2)

An injection is one file, as a fusion of `fusion_zoo` is: its name, the first line of its docstring
and, in CamelCase, its class, an `Injection` whose keyword-only arguments with literal defaults are
its options. Another package adds its own through the entry-point group `ablate.injections`. Asking
for names, descriptions and options runs no package's code and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusion_zoo._registry import Registry

if TYPE_CHECKING:
    from ._interface import Decoder, Injection, LinearShape, Seen

__all__ = ["INJECTIONS", "Decoder", "Injection", "LinearShape", "Seen"]

INJECTIONS = Registry("injection", "ablate.injections", "fusion_zoo.injections")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("fusion_zoo.injections._interface"), name)
    raise AttributeError(f"module 'fusion_zoo.injections' has no attribute '{name}'")
