"""Components that are found by themselves, ours by their files and others' by an entry point.

Where a component is one file, its name is the file's, and its class is named the same in CamelCase.
The first line of the file's docstring describes it; keyword-only arguments of the class with
literal defaults are its options. Another package adds its own by an entry point
(`name = "package.module:Class"`). Until one is loaded or built, asking for it runs no component's
code and imports no torch.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from . import _source
from ._source import locate

Entries = Mapping[str, EntryPoint]
"""Where components are, by name."""


SHOWN = 16
"""How many names an error line has at most."""
SURE = 0.75
"""How much a word is like another, from 0 to 1, to be taken for a slip of it."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """The end of an error line: the closest valid choice to `word`; of a few the others, too, where
    that is not very close; where none is, the first of them."""
    known = sorted(choices)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:
        return f"; choose one of {listed(known)}" if known else "; it takes none"
    others = [choice for choice in known if choice != close[0]]
    if not 0 < len(others) < SHOWN or get_close_matches(word, close, cutoff=SURE):
        return f"; did you mean '{close[0]}'?"
    return f"; did you mean '{close[0]}', or another of {listed(others)}?"


def listed(names: Sequence[str]) -> str:
    """The first `SHOWN` of them, and how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class Registry:
    """All components of one sort, ours and other packages'.

    noun: what one is called (`fusion`); group: of the entry points of other packages; ours: the
    package of ours whose files are components, or what finds ours, asked once; sets: the name that
    a component's file sets to it, where it is no class called as the file is (files that set none
    are no components); error: what is raised for a user's mistake, such as an unknown name.

    Whatever takes a component's name raises `error` for an unknown one, naming the nearest.
    """

    def __init__(
        self,
        noun: str,
        group: str,
        ours: str | Callable[[], Entries],
        sets: str = "",
        error: type[Exception] = ValueError,
    ) -> None:
        self.noun = noun
        self.group = group
        self.room = ours if isinstance(ours, str) else ""
        self.ours = cache(partial(_files, ours, sets) if isinstance(ours, str) else ours)
        self.error = error

    def names(self) -> list[str]:
        """Every one there is: ours, then other packages' in alphabetical order."""
        ours = self.ours()
        return [*ours, *sorted(_installed(self.group).keys() - ours.keys())]

    def __contains__(self, name: str) -> bool:
        return name in self.ours() or name in _installed(self.group)

    def entry(self, name: str) -> EntryPoint:
        """Where it is."""
        ours = self.ours()
        entries = ours if name in ours else _installed(self.group)  # to find those takes a while
        if name not in entries:
            raise self.error(f"no {self.noun} '{name}'{nearest(name, self.names())}")
        return entries[name]

    def plug_in(self, name: str) -> EntryPoint | None:
        """What another package offers by this name; None for ours."""
        return None if name in self.ours() else self.entry(name)

    def load(self, name: str) -> Any:
        """Its class, or what else its entry names; `error` where another package fails at it."""
        entry = self.entry(name)
        try:
            return entry.load()
        except Exception as error:  # whatever another package raises
            self._accuse(name, "be loaded", error)
            raise

    @contextmanager
    def blame(self, name: str, what: str) -> Iterator[None]:
        """Any exception inside, of a component of another package that cannot do this, as one line
        that names the package with file and line. An `error` passes as it is."""
        try:
            yield
        except self.error:
            raise
        except Exception as error:  # whatever another package raises
            self._accuse(name, what, error)
            raise

    def _accuse(self, name: str, what: str, error: Exception) -> None:
        entry = self.plug_in(name)
        if entry is None:  # ours: an internal error
            return
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise self.error(
            f"{self.noun} '{name}' of {package} cannot {what}: {message} "
            f"({_origin(error, entry)}); mend that package, or do without it"
        ) from error

    def describe(self, name: str) -> str:
        """The first line of its file's docstring."""
        return _source.first_line(self.file(name))

    def options(self, name: str) -> dict[str, Any]:
        """Its options with their defaults."""
        return dict(_source.options(self.file(name), self.entry(name).attr))

    def check(self, name: str, given: Mapping[str, Any]) -> None:
        """`error` unless it exists and takes options of these names and types.

        A whole number does for a float; of a tuple of words a list, too.
        """
        known = self.options(name)
        for option, value in given.items():
            if option not in known:
                hint = nearest(option, known)
                raise self.error(f"{self.noun} '{name}' has no option '{option}'{hint}")
            wanted = type(known[option])
            if not _fits(value, wanted):
                kind = "a list of words" if wanted is tuple else wanted.__name__
                raise self.error(
                    f"option '{option}' of {self.noun} '{name}' is {kind}, got {value!r}"
                )

    def filled(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """All of its options as JSON: those given, which are checked, and the others' defaults."""
        self.check(name, given)
        values = {
            option: type(default)(given.get(option, default))
            for option, default in self.options(name).items()
        }
        return {
            option: list(value) if isinstance(value, tuple) else value
            for option, value in values.items()
        }

    def constant(self, name: str, constant: str, default: Any) -> Any:
        """The literal that its file sets a name to, such as `REVISION`."""
        return _source.constant(self.file(name), constant, default)

    def revision(self, name: str) -> int:
        """The number `REVISION` in its file, 1 where it has none.

        Raised in one of ours by a change that makes another result of the same input, options and
        seed: what was trained with an earlier one is then trained anew.
        """
        return int(self.constant(name, "REVISION", 1))

    def says(self, name: str, flag: str) -> bool:
        """Whether its class sets this to true (`flag: ClassVar[bool] = True`)."""
        return flag in _source.flags(self.file(name), self.entry(name).attr)

    def fingerprint(self, name: str) -> str:
        """sha256 of its source, of what all in our package share (files that begin with `_`), and
        of the components that it is made of.

        What has been found out about a component holds for as long as this stays the same.
        """
        room = locate(self.room) if self.room else None
        places = (room and room.submodule_search_locations) or ()
        shared = [path for folder in places for path in sorted(Path(folder).glob("_*.py"))]
        file = self.file(name)
        made_of = re.findall(r"^from \.([a-z]\w*) import", file.read_text("utf-8"), re.MULTILINE)
        parts = [file.with_name(f"{module}.py") for module in sorted(made_of)]
        files = [*shared, file, *(path for path in parts if path.is_file())]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def build(self, name: str, *given: Any, **options: Any) -> Any:
        """An object of its class; `error` for options that it does not take, too."""
        self.check(name, options)
        return self.load(name)(*given, **options)

    def file(self, name: str) -> Path:
        """The file that its class is in."""
        entry = self.entry(name)
        try:
            return _file_of(entry.module, tuple(sys.path))
        except LookupError:
            raise self.error(
                f"{self.noun} '{entry.name}': there is no module {entry.module}"
            ) from None

    def constructor(self, name: str) -> ast.FunctionDef | None:
        """Its class's `__init__` as written in its file; None if it is not written there."""
        return _source.constructor(self.file(name), self.entry(name).attr)

    def class_source(self, name: str) -> ast.ClassDef | None:
        """Its class as written in its file; None if it is not written there."""
        return _source.class_source(self.file(name), self.entry(name).attr)


@cache
def _file_of(module: str, path: tuple[str, ...]) -> Path:
    """The file of a module, on the `path` that is `sys.path` now; else LookupError, never kept."""
    spec = locate(module)
    if spec is None or spec.origin is None:
        raise LookupError(module)
    return Path(spec.origin)


def _files(package: str, sets: str) -> Entries:
    """What the files of a package hold, but for those that begin with `_`."""
    spec = locate(package)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    paths = sorted(path for folder in folders for path in folder.glob("[!_]*.py"))
    if sets:
        line = re.compile(rf"^{sets}\b", re.MULTILINE)
        paths = [path for path in paths if line.search(path.read_text(encoding="utf-8"))]
    names = {path.stem: sets or path.stem.title().replace("_", "") for path in paths}
    return {name: EntryPoint(name, f"{package}.{name}:{at}", "") for name, at in names.items()}


def _installed(group: str) -> Entries:
    """What other packages offer in a group of entry points."""
    return _on_path(tuple(sys.path), group)


@cache
def _on_path(path: tuple[str, ...], group: str) -> Entries:
    """The same, for as long as Python looks for packages there."""
    entries = tuple(_all_on_path(path).select(group=group))
    return {entry.name: entry for entry in reversed(entries)}  # the first counts, as of modules


@cache
def _all_on_path(path: tuple[str, ...]) -> Any:
    """All entry points, of any group: to read them takes a while."""
    return entry_points()


def _origin(error: Exception, entry: EntryPoint) -> str:
    """File and line of a component where an error came from; else its file."""
    spec = locate(entry.module)
    if spec is None or spec.origin is None:
        return f"no module {entry.module}"
    frames = traceback.extract_tb(error.__traceback__)
    frames_of_component = [frame for frame in frames if Path(frame.filename) == Path(spec.origin)]
    return f"{spec.origin}:{frames_of_component[-1].lineno}" if frames_of_component else spec.origin


def _fits(value: Any, wanted: type) -> bool:
    if wanted is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return type(value) is wanted or (wanted is float and type(value) is int)
