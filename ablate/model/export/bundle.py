"""The sources a model needs, as a few flat files that stand without this package.

From root modules on, every definition of ours that is used is followed to where it is written, and
nothing else of that file is taken along. So an exported folder runs the very lines that trained and
scored the model, and they are short enough to read. Imports between the files become relative, as
Hugging Face's code in model folders has them. No code is run for that: only its text is read.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from fusion_zoo import locate

Imported = tuple[str, str]
"""A module and a name in it; the name is empty where the module itself is imported."""
Defined = ast.FunctionDef | ast.ClassDef
LINE = 100
"""Characters of a line of code."""


@dataclass
class Source:
    """One module of ours, and what of it is needed so far."""

    module: str
    text: str
    is_package: bool
    needed: set[int] = field(default_factory=set)
    """Numbers of its statements."""

    @cached_property
    def body(self) -> list[ast.stmt]:
        return _tree(self.text).body

    @cached_property
    def definitions(self) -> dict[str, int]:
        """The number of the statement that gives a name its meaning, imports aside."""
        return {
            name: number
            for number, statement in enumerate(self.body)
            if not _is_import(statement)
            for name in _bound(statement)
        }

    @cached_property
    def imports(self) -> dict[str, Imported]:
        """What each imported name is."""
        return {
            alias.asname or alias.name: imported
            for statement in self.body
            if _is_import(statement)
            for node in _import_nodes(statement)
            for alias, imported in self._aliases(node)
        }

    def _aliases(self, node: ast.stmt) -> Iterator[tuple[ast.alias, Imported]]:
        if isinstance(node, ast.Import):
            yield from ((alias, (alias.name, "")) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            package = self.module.split(".")
            above = package[: len(package) - node.level + self.is_package] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((alias, (base, alias.name)) for alias in node.names)

    @cached_property
    def doc(self) -> str:
        """Its docstring, as it is written."""
        return ast.get_docstring(_tree(self.text), clean=False) or ""

    @property
    def has_late_annotations(self) -> bool:
        return ("__future__", "annotations") in self.imports.values()

    def told_below(self, number: int) -> ast.stmt | None:
        """The text below a constant that tells what it is, if there is one."""
        below = self.body[number + 1] if number + 1 < len(self.body) else None
        documents = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        return below if documents and number + 1 not in self.needed else None

    @property
    def used(self) -> set[str]:
        """The names that what is needed of it mentions."""
        return self.mentioned(self.needed)

    def mentioned(self, numbers: Iterable[int]) -> set[str]:
        """The names in these of its statements."""
        return set[str]().union(*(_names(self.body[number]) for number in numbers))


class Bundle:
    """Sources of the packages `ours` by module; `written` stands in place of modules' own text."""

    def __init__(self, ours: tuple[str, ...], written: Mapping[str, str]) -> None:
        self._ours, self._written = ours, written
        self._sources: dict[str, Source] = {}

    def add(self, module: str) -> None:
        """A whole module, and what it uses."""
        source = self._source(module)
        self._need(source, set(range(len(source.body))))

    def files(self, header: str) -> dict[str, str]:
        """By file name, each source of which anything is needed; `header` is a comment's text."""
        return {
            f"{_flat(name)}.py": self._text(source, header)
            for name, source in sorted(self._sources.items())
            if source.needed
        }

    def _source(self, module: str) -> Source:
        if module not in self._sources:
            spec = locate(module)
            if spec is None or spec.origin is None:
                raise ValueError(f"there is no module {module}")
            file = Path(spec.origin)
            text = self._written.get(module) or _without_late_imports(file, self._ours)
            self._sources[module] = Source(module, text, file.name == "__init__.py")
        return self._sources[module]

    def _need(self, source: Source, numbers: set[int]) -> None:
        """Take statements along, and all that they mention, here and elsewhere."""
        new = numbers - source.needed
        if not new:
            return
        source.needed |= new
        for name in source.mentioned(new):
            if name in source.definitions:
                self._need(source, {source.definitions[name]})
            elif name in source.imports:
                self._follow(*self._origin(*source.imports[name]))

    def _follow(self, module: str, name: str) -> None:
        if _is_of(module, self._ours):
            source = self._source(module)
            self._need(source, {source.definitions[name]})

    def _origin(self, module: str, name: str) -> Imported:
        """Where a name is written, through modules of ours that hand it on."""
        while _is_of(module, self._ours):
            source = self._source(module)
            if name in source.definitions:
                break
            if name not in source.imports:
                raise ValueError(f"{module} has no '{name}' that can be taken along")
            module, name = source.imports[name]
        return module, name

    def _text(self, source: Source, header: str) -> str:
        """The needed part of a source, its imports made to fit."""
        lines = source.text.splitlines()
        doc = f'"""{source.doc}"""' if source.doc else ""
        imports = self._imports(source)
        parts, before = [doc, f"# {header}", *(["", imports] if imports else [])], None
        for number in sorted(source.needed):
            statement = source.body[number]
            if _is_import(statement) or (number == 0 and source.doc):
                continue
            apart = any(isinstance(statement_, Defined) for statement_ in (before, statement))
            parts += ["", ""] if apart else [""] if before is None else []
            parts += lines[_first_line(statement, lines) - 1 : statement.end_lineno]
            if below := source.told_below(number):
                parts += lines[below.lineno - 1 : below.end_lineno]
            before = statement
        return "\n".join(parts).strip() + "\n"

    def _imports(self, source: Source) -> str:
        """Import lines for the names that are used; ours relative, from where they are written."""
        others: dict[str, list[str]] = defaultdict(list)
        ours: dict[str, list[str]] = defaultdict(list)
        plain = set()
        for local in sorted(source.used & source.imports.keys() - source.definitions.keys()):
            module, name = self._origin(*source.imports[local])
            renamed = "" if local == (name or module) else f" as {local}"
            if not name:
                plain.add(f"import {module}{renamed}")
            elif _is_of(module, self._ours):
                ours[f".{_flat(module)}"].append(f"{name}{renamed}")
            else:
                others[module].append(f"{name}{renamed}")
        blocks = [
            "\n".join(["from __future__ import annotations"] * source.has_late_annotations),
            "\n".join([*sorted(plain), *_import_lines(others)]),
            "\n".join(_import_lines(ours)),
        ]
        return "\n\n".join(filter(None, blocks))


@cache
def _without_late_imports(file: Path, ours: tuple[str, ...]) -> str:
    """The text of a file less the functions that import of ours only once they are called: they
    prepare a model, as from published weights, and are none that a ready one runs."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.FunctionDef) and any(
            _imports(inner, ours) for inner in ast.walk(node)
        ):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            last = (node.end_lineno or first) + 1  # with the empty line behind it
            lines[first - 1 : last] = [""] * len(lines[first - 1 : last])
    return "".join(lines)


def _imports(node: ast.AST, ours: tuple[str, ...]) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level > 0 or _is_of(node.module or "", ours)
    return isinstance(node, ast.Import) and any(_is_of(alias.name, ours) for alias in node.names)


def _is_of(module: str, ours: tuple[str, ...]) -> bool:
    return module.partition(".")[0] in ours


@cache
def _tree(text: str) -> ast.Module:
    """A source as it is parsed, which nobody changes."""
    return ast.parse(text)


@cache
def _names(statement: ast.stmt) -> frozenset[str]:
    """The names in a statement of a `_tree`, which each export asks for anew."""
    return frozenset(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))


def _flat(module: str) -> str:
    """What the file of a module is called: the room and the name, or what Hugging Face expects."""
    *rooms, name = module.removeprefix("ablate.").split(".")
    return name if rooms == ["model", "export"] else "_".join([*rooms, name.strip("_")])


def _is_import(statement: ast.stmt) -> bool:
    checked = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
    return checked or isinstance(statement, ast.Import | ast.ImportFrom)


def _import_nodes(statement: ast.stmt) -> Iterator[ast.stmt]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a module binds, also within `with` or `if`."""
    if isinstance(statement, Defined):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in statement.names)
    elif isinstance(statement, ast.With | ast.If | ast.Try):
        for inner in statement.body:
            yield from _bound(inner)
    else:
        names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
        yield from (node.id for node in names if isinstance(node.ctx, ast.Store))


def _import_lines(names: Mapping[str, Sequence[str]]) -> list[str]:
    """A line a module, or more where it would be long."""
    lines = []
    for module, members in sorted(names.items()):
        line = f"from {module} import {', '.join(members)}"
        if len(line) > LINE:
            inside = "".join(f"    {name},\n" for name in members)
            line = f"from {module} import (\n{inside})"
        lines.append(line)
    return lines


def _first_line(statement: ast.stmt, lines: Sequence[str]) -> int:
    """The first line of a statement, with its decorators and the comment right above it."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return first
