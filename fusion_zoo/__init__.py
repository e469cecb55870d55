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
import hashlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._registry import Registry
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
    "grows",
    "has_notes",
    "locate",
    "names",
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


_FUSIONS = Registry("fusion", "fusion_zoo", "fusion_zoo")
names = _FUSIONS.names
describe = _FUSIONS.describe
options = _FUSIONS.options
check = _FUSIONS.check
plug_in = _FUSIONS.plug_in
revision = _FUSIONS.revision


def has_notes(name: str) -> bool:
    """Whether the fusion may have `notes`: its class defines them, or is no plain `Fusion`.

    ValueError for an unknown name.
    """
    found = _FUSIONS.class_source(name)
    plain = ["Fusion"], ["fusion_zoo.Fusion"]
    if found is None or [ast.unparse(base) for base in found.bases] not in plain:
        return True
    return any(isinstance(one, ast.FunctionDef) and one.name == "notes" for one in found.body)


def grows(name: str) -> bool:
    """Whether the fusion's class says that it `grows`. ValueError for an unknown name."""
    found = _FUSIONS.class_source(name)
    said = (one for one in (found.body if found else ()) if isinstance(one, ast.AnnAssign))
    return any(ast.unparse(one) == "grows: ClassVar[bool] = True" for one in said)


def takes_llm(name: str) -> bool:
    """Whether the fusion's constructor is told the language model's shape, as its third argument.

    ValueError for an unknown name.
    """
    made = _FUSIONS.constructor(name)
    return made is not None and "llm" in [arg.arg for arg in made.args.args]


def fingerprint(name: str) -> str:
    """sha256 of the fusion's source and of what all fusions share. ValueError for an unknown name.

    What has been found out about a fusion holds for as long as this stays the same.
    """
    shared = Path(__file__).with_name("_interface.py")
    return hashlib.sha256(shared.read_bytes() + _FUSIONS.file(name).read_bytes()).hexdigest()


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
    told = (llm,) if takes_llm(name) else ()
    if told == (None,):
        raise ValueError(f"fusion '{name}' has to do with the language model: give its shape")
    fusion: Fusion = _FUSIONS.build(name, shapes, grid, *told, **given)
    return fusion
