"""Components that are a file each: found by themselves, and read from their source.

A component's name is its file's, and its class is named the same in CamelCase. The first line of
the file's docstring describes it; keyword-only arguments of the class with literal defaults are its
options. Another package adds its own by an entry point (`name = "package.module:Class"`). Asking
for any of it runs no component's code and imports no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import get_importer
from typing import Any


class Registry:
    """All components of one sort, ours and other packages'.

    noun: what one is called (`fusion`); group: of the entry points of other packages; package: the
    one of ours whose files are components, but for those that begin with `_`. Whatever takes a
    component's name raises ValueError for an unknown one, naming the nearest.
    """

    def __init__(self, noun: str, group: str, package: str) -> None:
        self.noun = noun
        self.group = group
        self.package = package

    def names(self) -> list[str]:
        """Every one there is, ours and other packages', in alphabetical order."""
        return sorted({*_ours(self.package, self.group), *installed(self.group)})

    def describe(self, name: str) -> str:
        """The first line of its file's docstring."""
        return (ast.get_docstring(_parsed(self.file(name))) or "").partition("\n")[0]

    def options(self, name: str) -> dict[str, Any]:
        """Its options with their defaults."""
        return dict(_options(self.file(name), self.entry(name).attr))

    def check(self, name: str, given: Mapping[str, Any]) -> None:
        """ValueError unless it exists and takes options of these names and types.

        A whole number does for a float; of a tuple of words a list, too.
        """
        known = self.options(name)
        for option, value in given.items():
            if option not in known:
                hint = _nearest(option, known)
                raise ValueError(f"{self.noun} '{name}' has no option '{option}'{hint}")
            wanted = type(known[option])
            if not _fits(value, wanted):
                kind = "a list of words" if wanted is tuple else wanted.__name__
                raise ValueError(
                    f"option '{option}' of {self.noun} '{name}' is {kind}, got {value!r}"
                )

    def filled(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """All of its options as JSON: those given, which are checked, and the others' defaults."""
        self.check(name, given)
        found = {
            option: type(default)(given.get(option, default))
            for option, default in self.options(name).items()
        }
        return {key: list(one) if isinstance(one, tuple) else one for key, one in found.items()}

    def constant(self, name: str, constant: str, default: Any) -> Any:
        """The literal that its file sets a name to, such as `REVISION`."""
        for node in _parsed(self.file(name)).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == constant:
                return ast.literal_eval(node.value)
        return default

    def revision(self, name: str) -> int:
        """The number `REVISION` in its file, 1 where it has none.

        Raised in one of ours by a change that makes another result of the same input, options and
        seed: what was trained with an earlier one is then trained anew.
        """
        return int(self.constant(name, "REVISION", 1))

    def plug_in(self, name: str) -> EntryPoint | None:
        """What another package offers by this name; None for ours."""
        return None if name in _ours(self.package, self.group) else self.entry(name)

    def build(self, name: str, *given: Any, **options: Any) -> Any:
        """An object of its class; ValueError for options that it does not take, too."""
        self.check(name, options)
        return self.entry(name).load()(*given, **options)

    def entry(self, name: str) -> EntryPoint:
        """Where its class is."""
        ours = _ours(self.package, self.group)
        entries = ours if name in ours else installed(self.group)  # to find those takes a while
        if name not in entries:
            raise ValueError(f"no {self.noun} '{name}'{_nearest(name, self.names())}")
        return entries[name]

    def file(self, name: str) -> Path:
        """The file that its class is in."""
        entry = self.entry(name)
        spec = locate(entry.module)
        if spec is None or spec.origin is None:
            raise ValueError(f"{self.noun} '{entry.name}': there is no module {entry.module}")
        return Path(spec.origin)

    def constructor(self, name: str) -> ast.FunctionDef | None:
        """Its class's `__init__` as written in its file; None if it is not written there."""
        return _constructor(self.file(name), self.entry(name).attr)

    def class_source(self, name: str) -> ast.ClassDef | None:
        """Its class as written in its file; None if it is not written there."""
        return _class(self.file(name), self.entry(name).attr)


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


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """What other packages offer in a group of entry points, by name."""
    return {entry.name: entry for entry in entry_points(group=group)}


@cache
def _ours(package: str, group: str) -> dict[str, EntryPoint]:
    spec = locate(package)
    folders = list((spec and spec.submodule_search_locations) or ())
    names = sorted(file.stem for folder in folders for file in Path(folder).glob("[!_]*.py"))
    return {
        name: EntryPoint(name, f"{package}.{name}:{name.title().replace('_', '')}", group)
        for name in names
    }


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _options(file: Path, attr: str) -> dict[str, Any]:
    made = _constructor(file, attr)
    if made is None:
        return {}
    pairs = zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    return {arg.arg: ast.literal_eval(value) for arg, value in pairs if value}


def _constructor(file: Path, attr: str) -> ast.FunctionDef | None:
    found = _class(file, attr)
    inside = found.body if found else []
    own = (one for one in inside if isinstance(one, ast.FunctionDef) and one.name == "__init__")
    return next(own, None)


def _class(file: Path, attr: str) -> ast.ClassDef | None:
    classes = (node for node in ast.walk(_parsed(file)) if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == attr), None)


def _fits(value: Any, wanted: type) -> bool:
    if wanted is tuple:
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    return type(value) is wanted or (wanted is float and type(value) is int)


def _nearest(word: str, choices: Sequence[str] | Mapping[str, Any]) -> str:
    close = get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; choose one of {', '.join(sorted(choices))}" if choices else "; it takes none"
