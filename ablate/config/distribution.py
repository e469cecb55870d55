"""What our package is called on the index, and whose files are installed where ours belong.

On the index `ablate` is another project, which installs a package `ablate`, too.
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

NAME = "ablate-vlm"  # as in pyproject.toml
PACKAGES = ("ablate", "fusion_zoo")


def installed_version() -> str | None:
    """The version that is installed; None for code that is only on the path."""
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        return None


def strangers() -> Iterator[tuple[str, str, str]]:
    """Distributions of others that install into a package of ours: name, version, package."""
    for distribution in importlib.metadata.distributions():
        name, files = distribution.metadata["Name"], distribution.read_text("RECORD")
        if name and name != NAME and files is not None:  # without: a leftover of a build
            top = (distribution.read_text("top_level.txt") or "").split()
            for package in PACKAGES:
                if package in top or f"\n{package}/" in f"\n{files}":
                    yield name, distribution.version, package


def shadows() -> Iterator[tuple[str, Path]]:
    """Packages of ours that Python finds elsewhere than beside this one: name, folder."""
    ours = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            if Path(folder).resolve().parent != ours:
                yield package, Path(folder)
