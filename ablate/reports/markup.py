"""Templates and the files that pages are made with."""

from functools import cache
from importlib import import_module
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FunctionLoader, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """Where templates are found; what they are given is escaped, and must be given.

    A page's is called as its module is, and lies beside it.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader("ablate.reports"), FunctionLoader(_beside)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _beside(module: str) -> str:
    file = import_module(module).__file__
    return Path(str(file)).with_suffix(".html").read_text(encoding="utf-8")


@cache
def asset(name: str) -> str:
    """The text of a file that every report holds."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")
