"""What the source of a component says of it. Runs none of its code."""

from __future__ import annotations

import ast
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def locate(module: str) -> ModuleSpec | None:
    """Where a module is, found without running any code of its package; None if there is none."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # a module that was put together by hand, such as `__main__`
        return None
    for name in inner:
        spec = PathFinder.find_spec(name, (spec and spec.submodule_search_locations) or [])
    return spec


def first_line(file: Path) -> str:
    """The first line of a file's docstring; empty without one."""
    return (ast.get_docstring(parsed(file)) or "").partition("\n")[0]


def constant(file: Path, name: str, default: Any) -> Any:
    """The literal that a file sets a name to, such as `REVISION`."""
    for node in parsed(file).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return default


@cache
def options(file: Path, name: str) -> dict[str, Any]:
    """The keyword-only arguments of a class that have a literal default, with it."""
    made = constructor(file, name)
    if made is None:
        return {}
    pairs = zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    return {arg.arg: ast.literal_eval(value) for arg, value in pairs if value}


@cache
def flags(file: Path, name: str) -> frozenset[str]:
    """What a class sets to true: `flag: ClassVar[bool] = True`."""
    source = class_source(file, name)
    return frozenset(
        ast.unparse(node.target)
        for node in (source.body if source else ())
        if isinstance(node, ast.AnnAssign)
        and ast.unparse(node.annotation) == "ClassVar[bool]"
        and node.value is not None
        and ast.unparse(node.value) == "True"
    )


def constructor(file: Path, name: str) -> ast.FunctionDef | None:
    """The `__init__` of a class as written in its file; None if it is not written there."""
    source = class_source(file, name)
    inside = source.body if source else []
    constructors = (
        node for node in inside if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    return next(constructors, None)


def class_source(file: Path, name: str) -> ast.ClassDef | None:
    """A class as written in its file; None if it is not written there."""
    classes = (node for node in ast.walk(parsed(file)) if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == name), None)


@cache
def parsed(file: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"))
