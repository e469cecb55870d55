"""Ways to fuse the feature maps of several vision encoders into one token sequence, one file each.

    fusion = fusion_zoo.build("channel_concat", [MapShape(96, 4, 4), MapShape(256, 8, 8)], (4, 4))
    tokens = fusion(maps)                # one (B, tokens, channels) tensor for each fusion.segments

A fusion is one file: its name is the fusion's, its docstring's first line the description, and its
class, named the same in CamelCase, a `Fusion` whose keyword-only arguments with literal defaults
are the options. Another package adds its own through the entry-point group `fusion_zoo`
(`name = "package.module:Class"`). Names, descriptions and options are read from the source, so
asking for them runs no package's code and imports no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._registry import Registry, listed, nearest
from ._source import locate

if TYPE_CHECKING:
    from ._interface import (
        BlockwiseBase,
        FeatureMap,
        Fusion,
        Instruction,
        LanguageShape,
        MapShape,
        Segment,
        at_least_fp32,
        norm_linear,
        resize_flops,
        resize_map,
    )

__all__ = [
    "FUSIONS",
    "BlockwiseBase",
    "FeatureMap",
    "Fusion",
    "Instruction",
    "LanguageShape",
    "MapShape",
    "Registry",
    "Segment",
    "at_least_fp32",
    "build",
    "check",
    "describe",
    "fingerprint",
    "has_notes",
    "listed",
    "locate",
    "names",
    "nearest",
    "norm_linear",
    "options",
    "plug_in",
    "resize_flops",
    "resize_map",
    "revision",
    "takes_llm",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("fusion_zoo._interface"), name)
    raise AttributeError(f"module 'fusion_zoo' has no attribute '{name}'")


FUSIONS = Registry("fusion", "fusion_zoo", "fusion_zoo")
names = FUSIONS.names
describe = FUSIONS.describe
options = FUSIONS.options
check = FUSIONS.check
plug_in = FUSIONS.plug_in
revision = FUSIONS.revision
fingerprint = FUSIONS.fingerprint


def has_notes(name: str) -> bool:
    """Whether the fusion may have `notes`: its class defines them, or is no plain `Fusion`.

    ValueError for an unknown name.
    """
    source = FUSIONS.class_source(name)
    plain = ["Fusion"], ["fusion_zoo.Fusion"]
    if source is None or [ast.unparse(base) for base in source.bases] not in plain:
        return True
    return any(
        isinstance(statement, ast.FunctionDef) and statement.name == "notes"
        for statement in source.body
    )


def takes_llm(name: str) -> bool:
    """Whether the fusion's constructor is told the language model's shape, as its third argument.

    ValueError for an unknown name.
    """
    made = FUSIONS.constructor(name)
    return made is not None and "llm" in [arg.arg for arg in made.args.args]


def build(
    name: str,
    shapes: Sequence[MapShape],
    grid: tuple[int, int],
    llm: LanguageShape | None = None,
    /,
    **given: Any,
) -> Fusion:
    """The fusion `name` of maps of these shapes (the base's first) into tokens on an (H, W) grid.

    `llm`: for those that take it. ValueError for an unknown name or option (with the nearest one),
    or one that does not fit.
    """
    language = (llm,) if takes_llm(name) else ()
    if language == (None,):
        raise ValueError(f"fusion '{name}' has to do with the language model: give its shape")
    fusion: Fusion = FUSIONS.build(name, shapes, grid, *language, **given)
    return fusion
