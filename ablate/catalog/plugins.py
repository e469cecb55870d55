"""The code of other packages that decides a result, known by its content. Runs none of it, but for
the module that names a kind of step.

What counts of a fusion, connector, tiling, injection, encoder family, objective, adapter,
annotator, metric or kind of step: the file that its entry point names (of a kind of step also its
executor's, if that is of the same package); the files of the package that this one imports,
directly or through others, wherever in a file; the `__init__` of the packages around them; and what
else lies in the package that is no Python (tables, kernels). A file that imports by names made
while it runs counts with the whole package. What is imported from further packages does not count.
Beside it stand the name and version of the package.
"""

import ast
import json
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import fusion_zoo
from ablate.catalog import encoder_families as families
from ablate.catalog import metric_readers, step_kinds
from ablate.catalog.adapters import ADAPTERS
from ablate.catalog.annotators import ANNOTATORS
from ablate.catalog.axes import AXES
from ablate.catalog.objectives import OBJECTIVES
from ablate.errors import UserError
from ablate.files import remembered_while, sha256_files, sha256_json, sizes_and_times

Plugins = dict[str, dict[str, str]]
"""By what it is (`fusion scaled`): `package`, `version` and the `sha256` of its source."""
_PYTHON = {".py", ".pyc", ".pyo", ".pyi"}
_UNKNOWN = {"importlib", "pkgutil", "runpy"}
"""Who imports one of these may import anything."""


_PLUG_INS: Mapping[str, Callable[[str], EntryPoint | None]] = {
    "encoder family": families.plug_in,
    "fusion": fusion_zoo.plug_in,
    "objective": OBJECTIVES.plug_in,
    "adapter": ADAPTERS.plug_in,
    "annotator": ANNOTATORS.plug_in,
    "step kind": step_kinds.plug_in,
    **{name: axis.registry.plug_in for name, axis in AXES.items()},
}
"""What another package may bring, and where it is looked up: None for ours."""
_REVISIONS: Mapping[str, Callable[[str], int]] = {
    "encoder family": lambda name: families.revision(name),
    "fusion": fusion_zoo.revision,
    "objective": OBJECTIVES.revision,
    "adapter": ADAPTERS.revision,
    "annotator": ANNOTATORS.revision,
    **{name: axis.registry.revision for name, axis in AXES.items()},
}
"""Of what of ours it is counted how often it came to make something else."""


def described(parts: Iterable[tuple[str, str]]) -> Plugins:
    """The plug-ins among parts, each what it is (`fusion`) and its name; UserError or ValueError if
    one is unknown."""
    identities = ((f"{what} {name}", _identity(what, name)) for what, name in parts)
    return {name: known for name, known in identities if known is not None}


def _identity(what: str, name: str) -> dict[str, str] | None:
    """The identity of a plug-in; None for what is ours."""
    entry = _PLUG_INS[what](name)
    if entry is None:
        return None
    more = [step_kinds.find(name).executor.partition(":")[0]] if what == "step kind" else []
    return identity(entry, *more)


def of_metrics(named: Iterable[str]) -> Plugins:
    """The plug-ins that read these metrics, by metric."""
    return {name: identity(entry) for name, entry in metric_readers.plug_ins(named).items()}


def revisions(parts: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Which of our own make something else than they first did, and how often that changed."""
    counted = [part for part in parts if part[0] in _REVISIONS]
    ours = [(what, name) for what, name in counted if _PLUG_INS[what](name) is None]
    numbers = {f"{what} {name}": _REVISIONS[what](name) for what, name in ours}
    return {name: number for name, number in numbers.items() if number > 1}


def require_same(specs: Iterable[Mapping[str, Any]]) -> None:
    """Raise UserError if the code of a plug-in in these steps' specs is not what was planned."""
    planned = {
        name: identity for spec in specs for name, identity in spec.get("plugins", {}).items()
    }
    for name, expected in planned.items():
        what, _, component = name.rpartition(" ")
        if _identity(what, component) != expected:
            raise UserError(
                f"{name} of {expected['package']} {expected['version']} has changed since the "
                "study was planned; start it again, and what depends on it is made anew"
            )


def of_spec(spec: Mapping[str, Any]) -> Plugins:
    """All plug-ins in the spec of a step, by what they are."""
    readers = (spec.get("suite") or {}).get("metrics") or {}
    return {
        **spec.get("plugins", {}),
        **{f"metric {name}": identity for name, identity in readers.items()},
    }


def identity(entry: EntryPoint, *more: str) -> dict[str, str]:
    """Package, version and sha256 of the source of what an entry point names, and of the modules
    `more` of the same package."""
    top, dist = entry.module.partition(".")[0], entry.dist
    tops = {top}
    if dist is not None:
        listed = (dist.read_text("top_level.txt") or "").split()
        tops |= set(listed or (file.parts[0].removesuffix(".py") for file in dist.files or ()))
    return {
        "package": dist.name if dist is not None else top,
        "version": dist.version if dist is not None else "",
        "sha256": _source([entry.module, *more], top, sorted(tops)),
    }


def _source(modules: list[str], top: str, tops: list[str]) -> str:
    def read() -> tuple[str, Iterable[Path]]:
        files = {**closure(modules, tops), **_beside(top)}
        return digest(files), [*files.values(), *{path.parent for path in files.values()}]

    spec = fusion_zoo.locate(top)
    of = json.dumps([modules, tops, str(spec and spec.origin)])
    return str(remembered_while("code", of, read))


def closure(modules: Iterable[str], within: Collection[str], guess: bool = True) -> dict[str, Path]:
    """The files of these modules and of all they import `within` these packages, by module.

    `guess`: take the whole package where names are made while it runs.
    """
    files: dict[str, Path] = {}
    wanted, seen = list(modules), set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen or not any(f"{name}.".startswith(f"{top}.") for top in within):
            continue
        seen.add(name)
        spec = fusion_zoo.locate(name)
        if spec is None:
            continue  # a name within a module
        if "." in name:
            wanted.append(name.rpartition(".")[0])
        if spec.origin is None or not Path(spec.origin).is_file():
            continue  # a folder without `__init__`
        files[name] = Path(spec.origin)
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        imported = imports(files[name], package)
        wanted += imported
        if guess and not _UNKNOWN.isdisjoint(imported):
            wanted += _modules(name.partition(".")[0])
    return files


def imports(path: Path, package: str) -> tuple[str, ...]:
    """What a Python file in a package imports: modules, and names that may be modules."""
    if path.suffix != ".py":
        return ()
    [seen] = sizes_and_times([path])
    return _imports(path, package, tuple(seen))


@cache  # many tasks are scored by the same files
def _imports(path: Path, package: str, seen: tuple[str | int, ...]) -> tuple[str, ...]:
    """The same, while the file stays as it was seen."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of its string literals, say
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ()  # which is said when it is imported
    names: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names += (alias.name for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                around = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*around, *([module] if module else [])])
                names += (base, *(f"{base}.{alias.name}" for alias in aliases))
            case ast.Name(id="__import__"):
                names.append("importlib")
    return tuple(names)


def _modules(top: str) -> Iterator[str]:
    """Every module of a package."""
    for folder in _folders(top):
        for path in folder.rglob("*.py"):
            inside = path.relative_to(folder).with_suffix("").parts
            yield ".".join([top, *(part for part in inside if part != "__init__")])


def _beside(top: str) -> dict[str, Path]:
    """What lies in a package and is no Python, by its path there."""
    files = {}
    for folder in _folders(top):
        for path in folder.rglob("*"):
            name = path.relative_to(folder)
            hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if path.is_file() and path.suffix not in _PYTHON and not hidden:
                files[name.as_posix()] = path
    return files


def _folders(top: str) -> list[Path]:
    spec = fusion_zoo.locate(top)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def digest(files: Mapping[str, Path]) -> str:
    """One sha256 over files by name; of large ones it is remembered while they stay as they are."""
    return sha256_json([[name, sha256_files([path])] for name, path in sorted(files.items())])
