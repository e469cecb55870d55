"""Templates and the files that pages are made with."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """Where templates are found; what they are given is escaped, and must be given."""
    return Environment(
        loader=PackageLoader("ablate.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def asset(name: str) -> str:
    """The text of a file that every report holds."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")
