"""YAML that remembers where each value came from: files, inheritance (`extends`), overrides.

Scalars follow YAML 1.2: `1e-3` is a number, `no` and `12:30` are words, dates are words.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from ablate.errors import UserError, nearest

DEEPEST, MOST = 50, 200_000
"""Levels and values of a file at most: far above any study, far below what fills the memory."""
SUFFIXES = (".yaml", ".yml")
"""Of a file that another may extend."""
LONGEST = 30
"""Files in a chain of `extends`."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"


class _Reader(_Loader):  # type: ignore[misc]
    """The fast safe loader with the scalars of YAML 1.2 in place of those of 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _name, _pattern, _first in [
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
]:
    _Reader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)

_SCALARS: dict[str, Callable[[str], Any]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: text.lower() == "true",
    _TAG + "int": int,
    _TAG + "float": float,
    _TAG + "str": str,
}


@dataclass(frozen=True, slots=True)
class Located:
    """A value of the YAML tree with the place it was written at, such as `study.yaml:7`."""

    value: Any  # dict[str, Located] | list[Located] | str | int | float | bool | None
    where: str
    folder: Path  # what a relative path in the value starts from

    def plain(self) -> Any:
        """The value without its places."""
        value = self.value
        if type(value) is dict:
            return {key: child.plain() for key, child in value.items()}
        if type(value) is list:
            return [child.plain() for child in value]
        return value

    def at(self, path: Sequence[str | int]) -> "Located":
        """The value at `path`, or the deepest one on the way to it that exists."""
        here = self
        for part in path:
            inside = here.value
            if isinstance(inside, dict) and part in inside:
                here = inside[str(part)]
            elif isinstance(inside, list) and isinstance(part, int) and part < len(inside):
                here = inside[part]
            else:
                break
        return here


def load(path: Path, shelf: Path | None = None) -> Located:
    """The YAML mapping in `path`, merged over the file it `extends` (relative to itself).

    `extends` may also name a study on the `shelf` (`micro/base`). Raises UserError for a file that
    cannot be read, is not a mapping, or extends itself.
    """
    return _load(path, shelf, ())


def parse(text: str, where: str) -> Any:
    """The plain value of one YAML text, such as the right side of an override."""
    return _read(text, lambda line: where, Path.cwd()).plain()


def merge(under: Located, over: Located) -> Located:
    """`over` on top of `under`: mappings key by key, anything else replaced.

    A mapping of another `kind` (or a world against files or a mixture) replaces the one under it,
    and null takes a recipe's stage away that says its kind.
    """
    if not (isinstance(under.value, dict) and isinstance(over.value, dict)):
        return over
    if _variant(over) is not None and _variant(over) != _variant(under):
        return over
    merged = dict(under.value)
    for key, child in over.value.items():
        if _takes_away(child, merged.get(key)):
            del merged[key]
        else:
            merged[key] = merge(merged[key], child) if key in merged else child
    return Located(merged, over.where, over.folder)


def assign(tree: Located, path: str, value: Any, where: str) -> Located:
    """`tree` with `value`, a plain one or one that has its place, at the dotted `path`.

    List items go by index from 0.
    """
    return _assign(tree, path.split("."), located(value, where, tree.folder), where, path)


def _takes_away(over: Located, under: Located | None) -> bool:
    """Whether this is null in place of a recipe's stage that says its kind.

    Such a name is nowhere known but where it is written, and what is not known is a mistake.
    """
    is_stage = under is not None and isinstance(under.value, dict) and under.value.keys() >= _STAGE
    return over.value is None and is_stage


_STAGE = {"kind", "batch_size"}


def _variant(tree: Located) -> object:
    if "kind" in tree.value:
        return tree.value["kind"].plain()
    return next((key for key in ("world", "mix", "conversations") if key in tree.value), None)


def _assign(tree: Located, parts: list[str], value: Located, where: str, path: str) -> Located:
    if not parts:
        return value
    part, rest = parts[0], parts[1:]
    inside = tree.value
    if isinstance(inside, list):
        if not part.isdecimal() or int(part) >= len(inside):
            choices = ", ".join(map(str, range(len(inside)))) or "none, the list is empty"
            raise UserError(f"{where}: '{part}' in {path} is no item of the list; items: {choices}")
        items = list(inside)
        items[int(part)] = _assign(items[int(part)], rest, value, where, path)
        return Located(items, tree.where, tree.folder)
    if part == "":
        problem = (
            f"the path '{path}' has an empty part" if path else "there is no path before the ="
        )
        raise UserError(f"{where}: {problem}; write it as base.llm=value")
    if not (isinstance(inside, dict) or inside is None):
        raise UserError(f"{where}: '{path}' leads nowhere: there is nothing in '{part}'")
    old = inside or {}
    if (whole := ".".join(parts)) in old:  # a key that is itself a dotted path, as arms have them
        part, rest = whole, []
    if not rest and _takes_away(value, old.get(part)):
        left = {key: child for key, child in old.items() if key != part}
        return Located(left, tree.where, tree.folder)
    child = old.get(part, Located(None, where, tree.folder))
    return Located({**old, part: _assign(child, rest, value, where, path)}, tree.where, tree.folder)


def located(value: Any, where: str, folder: Path) -> Located:
    """A plain value as if it were written there, all of it at one place."""
    if isinstance(value, Located):
        return value
    if isinstance(value, dict):
        value = {str(key): located(child, where, folder) for key, child in value.items()}
    elif isinstance(value, list):
        value = [located(child, where, folder) for child in value]
    return Located(value, where, folder)


def _load(path: Path, shelf: Path | None, seen: tuple[Path, ...]) -> Located:
    path = path.absolute()
    name = _short(path)
    if (real := Path(os.path.realpath(path))) in seen:  # which minds no link to itself
        raise UserError(
            f"{name}: a study cannot extend itself: {' -> '.join(p.name for p in seen)}"
        )
    if len(seen) == LONGEST:
        raise UserError(f"{name}: more than {LONGEST} files extend each other")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{name}: not a text file (UTF-8)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{name}: cannot be read: {reason}") from None
    tree = _read(text, lambda line: f"{name}:{line}", path.parent)
    if not isinstance(tree.value, dict):
        raise UserError(f"{name}: must be a mapping of fields")
    base = tree.value.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base.value, str):
        raise UserError(f"{base.where}: extends: name one file, not {base.plain()!r}")
    return merge(_load(_parent(base, path, shelf), shelf, (*seen, real)), tree)


def _parent(base: Located, path: Path, shelf: Path | None) -> Path:
    near = path.parent / base.value
    shelved = shelf / f"{base.value}.yaml" if shelf else near
    parent = next((choice for choice in (near, shelved) if choice.is_file()), None)
    if parent is None:
        files = [file.name for file in path.parent.glob("*.yaml")]
        raise UserError(f"{base.where}: extends: no file {near}{nearest(base.value, files)}")
    if Path(os.path.realpath(parent)).suffix not in SUFFIXES:  # an error would show some of it
        raise UserError(f"{base.where}: extends: {base.value} is not read: no .yaml or .yml file")
    return parent


def _short(path: Path) -> str:
    """The path as the reader would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _read(text: str, location_of: Callable[[int], str], folder: Path) -> Located:
    try:
        _check_depth(text, location_of)
        node = yaml.compose(text, Loader=_Reader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        where = location_of(mark.line + 1 if mark else 1)
        raise UserError(f"{where}: not valid YAML: {reason}") from None
    if node is None:
        return Located({}, location_of(1), folder)
    try:
        return _convert(node, location_of, folder, count(1))
    except RecursionError:
        raise UserError(f"{location_of(1)}: not valid YAML: nested in itself") from None


def _check_depth(text: str, location_of: Callable[[int], str]) -> None:
    """UserError for what is nested deeper than any study; the C composer crashes far above it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Reader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise UserError(f"{location_of(line)}: nested too deeply")


def _convert(
    node: Any,
    location_of: Callable[[int], str],
    folder: Path,
    values: Iterator[int],
    where: str | None = None,
) -> Located:
    """The node as a tree; a value carries the line of its key. `values` counts them."""
    where = where or location_of(node.start_mark.line + 1)
    if next(values) > MOST:
        raise UserError(f"{where}: more than {MOST:,} values; are aliases repeated in aliases?")
    if isinstance(node, yaml.ScalarNode):
        if node.tag not in _SCALARS:
            tag = node.tag.removeprefix(_TAG)
            raise UserError(f"{where}: values of type '{tag}' are not understood here")
        try:
            value = _SCALARS[node.tag](node.value)
        except ValueError:  # Python reads no integer of thousands of digits
            value = math.inf
        if value in (math.inf, -math.inf):
            raise UserError(f"{where}: the number {node.value:.20} is too large")
        return Located(value, where, folder)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert(child, location_of, folder, values) for child in node.value]
        return Located(items, where, folder)
    mapping: dict[str, Located] = {}
    for key, child in node.value:
        at = location_of(key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{at}: a key must be a word")
        if key.value in mapping:
            before = mapping[key.value].where
            raise UserError(f"{at}: the key '{key.value}' is already at {before}")
        mapping[key.value] = _convert(child, location_of, folder, values, at)
    return Located(mapping, where, folder)
