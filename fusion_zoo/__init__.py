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
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import get_importer
from typing import TYPE_CHECKING, Any

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
    "Segment",
    "at_least_fp32",
    "build",
    "check",
    "describe",
    "fingerprint",
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


def names() -> list[str]:
    """Every fusion there is, ours and other packages', in alphabetical order."""
    return sorted(_entries())


def describe(name: str) -> str:
    """The first line of the fusion's docstring. ValueError for an unknown name."""
    return (ast.get_docstring(_source(_entry(name))) or "").partition("\n")[0]


def options(name: str) -> dict[str, Any]:
    """The fusion's options with their defaults. ValueError for an unknown name."""
    return dict(_options(_entry(name)))


def check(name: str, given: Mapping[str, Any]) -> None:
    """ValueError unless the fusion exists and takes options of these names and types."""
    known = options(name)
    for option, value in given.items():
        if option not in known:
            raise ValueError(f"fusion '{name}' has no option '{option}'{_nearest(option, known)}")
        wanted = type(known[option])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(
                f"option '{option}' of fusion '{name}' is {wanted.__name__}, got {value!r}"
            )


def has_notes(name: str) -> bool:
    """Whether the fusion may have `notes`: its class defines them, or is no plain `Fusion`.

    ValueError for an unknown name.
    """
    found = _class(_entry(name))
    plain = ["Fusion"], ["fusion_zoo.Fusion"]
    if found is None or [ast.unparse(base) for base in found.bases] not in plain:
        return True
    return any(isinstance(one, ast.FunctionDef) and one.name == "notes" for one in found.body)


def takes_llm(name: str) -> bool:
    """Whether the fusion's constructor is told the language model's shape, as its third argument.

    ValueError for an unknown name.
    """
    made = _constructor(_entry(name))
    return made is not None and "llm" in [arg.arg for arg in made.args.args]


def fingerprint(name: str) -> str:
    """sha256 of the fusion's source and of what all fusions share. ValueError for an unknown name.

    What has been found out about a fusion holds for as long as this stays the same.
    """
    shared = Path(__file__).with_name("_interface.py")
    return hashlib.sha256(shared.read_bytes() + _file(_entry(name)).read_bytes()).hexdigest()


def plug_in(name: str) -> EntryPoint | None:
    """What another package offers as this fusion; None for ours. ValueError for an unknown name."""
    return None if name in _ours() else _entry(name)


def revision(name: str) -> int:
    """The number `REVISION` in a fusion's file, 1 where it has none.

    Raised in one of ours by a change that makes other tokens of the same maps, options and seed:
    what was trained with an earlier one is then trained anew. ValueError for an unknown name.
    """
    for node in _source(_entry(name)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "REVISION":
            return int(ast.literal_eval(node.value))
    return 1


def locate(module: str) -> ModuleSpec | None:
    """Where a module is, found without running any code of its package; None if there is none."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # a module that was put together by hand, such as `__main__`
        return None
    for name in inner:
        folders = (spec.submodule_search_locations or ()) if spec else ()
        finders = filter(None, map(get_importer, folders))
        spec = next(filter(None, (finder.find_spec(name, None) for finder in finders)), None)
    return spec


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
    check(name, given)
    told = (llm,) if takes_llm(name) else ()
    if told == (None,):
        raise ValueError(f"fusion '{name}' has to do with the language model: give its shape")
    fusion: Fusion = _entry(name).load()(shapes, grid, *told, **given)
    return fusion


@cache
def _ours() -> dict[str, EntryPoint]:
    return {
        name: EntryPoint(name, f"fusion_zoo.{name}:{name.title().replace('_', '')}", "fusion_zoo")
        for name in (file.stem for file in Path(__file__).parent.glob("[!_]*.py"))
    }


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="fusion_zoo")} | _ours()


def _entry(name: str) -> EntryPoint:
    entries = _ours() if name in _ours() else _entries()  # finding those of others takes a while
    if name not in entries:
        raise ValueError(f"no fusion '{name}'{_nearest(name, names())}")
    return entries[name]


@cache
def _source(entry: EntryPoint) -> ast.Module:
    return ast.parse(_file(entry).read_text(encoding="utf-8"))


@cache
def _options(entry: EntryPoint) -> dict[str, Any]:
    made = _constructor(entry)
    if made is None:
        return {}
    pairs = zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    return {arg.arg: ast.literal_eval(value) for arg, value in pairs if value}


def _constructor(entry: EntryPoint) -> ast.FunctionDef | None:
    found = _class(entry)
    inside = found.body if found else []
    own = (one for one in inside if isinstance(one, ast.FunctionDef) and one.name == "__init__")
    return next(own, None)


def _class(entry: EntryPoint) -> ast.ClassDef | None:
    """The fusion's class as written in its file; None if it is not written there."""
    classes = (node for node in ast.walk(_source(entry)) if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == entry.attr), None)


def _file(entry: EntryPoint) -> Path:
    spec = locate(entry.module)
    if spec is None or spec.origin is None:
        raise ValueError(f"fusion '{entry.name}': there is no module {entry.module}")
    return Path(spec.origin)


def _nearest(word: str, choices: Sequence[str] | Mapping[str, Any]) -> str:
    close = get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; choose one of {', '.join(sorted(choices))}" if choices else "; it takes none"
