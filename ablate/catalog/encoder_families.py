"""The encoder families there are: a class of a file in `ablate/encoders`, or another package's.

A class there that says its `family` is one. It is found in the text of its file: no code runs.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

from ablate.errors import UserError
from fusion_zoo import Registry

FOLDER = Path(__file__).parents[1] / "encoders"


class Family(NamedTuple):
    """A family of ours: where its class is, and at which revision it is."""

    entry: EntryPoint
    revision: int


@cache
def _ours() -> dict[str, Family]:
    """Our families by name."""
    families = {}
    for file, text in _sources():
        for source in re.split(r"^class ", text, flags=re.MULTILINE)[1:]:
            if family := _constant(source, "family"):
                name = re.split(r"\W", source)[0]
                entry = EntryPoint(family, f"ablate.encoders.{file}:{name}", "")
                families[family] = Family(entry, int(_constant(source, "revision") or 1))
    return families


def _entries() -> dict[str, EntryPoint]:
    return {name: family.entry for name, family in _ours().items()}


FAMILIES = Registry("encoder family", "ablate.encoder_families", _entries, error=UserError)
names = FAMILIES.names
plug_in = FAMILIES.plug_in


def revision(family: str) -> int:
    """Which revision a family of ours is at, as its class says; 1 for those of other packages."""
    return _ours()[family].revision if family in _ours() else 1


@cache
def own_specs() -> tuple[EntryPoint, ...]:
    """The lists `SPECS` of encoders that stand beside the class of their family."""
    return tuple(
        EntryPoint(file, f"ablate.encoders.{file}:SPECS", "ablate.encoders")
        for file, text in _sources()
        if re.search(r"^SPECS\b", text, re.MULTILINE)
    )


def _sources() -> Iterator[tuple[str, str]]:
    """The name and the text of each file with families."""
    for file in sorted(FOLDER.glob("*.py")):
        yield file.stem, file.read_text(encoding="utf-8")


def _constant(source: str, name: str) -> str:
    """The word or number that a class sets a name to, as a literal; empty where it does not."""
    pattern = rf"^    {name}(?:: ClassVar\[\w+\])? = [\"']?(\w+)[\"']?$"
    match = re.search(pattern, source, re.MULTILINE)
    return match[1] if match else ""
