"""Ways to bring fused features into the language model's embedding space, one file each.

    connector = CONNECTORS.build("mlp", [Segment(16, 96)], [(4, 4)], 64, depth=2)
    visual = connector([tokens])         # (B, connector.num_tokens, 64)

Its name is the file's, and its class, named the same in CamelCase, a `Connector` whose keyword-only
arguments with literal defaults are the options. Another package adds its own through the
entry-point group `ablate.connectors`. Asking for names or options imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusion_zoo._registry import Registry

if TYPE_CHECKING:
    from ._interface import (
        Connector,
        EachSegment,
        Grid,
        SegmentLayer,
        require_grid,
        square_side,
    )

__all__ = [
    "CONNECTORS",
    "Connector",
    "EachSegment",
    "Grid",
    "SegmentLayer",
    "require_grid",
    "square_side",
]

CONNECTORS = Registry("connector", "ablate.connectors", __name__)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("fusion_zoo.connectors._interface"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
