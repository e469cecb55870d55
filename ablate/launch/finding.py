"""What an examination finds, and which packages are there."""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ablate.config.distribution import NAME, installed_version


@dataclass(frozen=True)
class Finding:
    """One check: `ok`, a `note` worth knowing, or a `problem` that will stop a study."""

    check: str
    status: Literal["ok", "note", "problem"]
    found: str
    remedy: str = ""


def packages() -> Iterator[Finding]:
    """What `ablate` declares as needed, and whether it is installed."""
    version = installed_version()
    if version is None:
        remedy = "Run `pip install -e . -c constraints.txt` in the project's folder."
        yield Finding("ablate", "problem", f"{NAME} is not installed", remedy)
        return
    yield Finding("ablate", "ok", f"{NAME} {version}")
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires(NAME) or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            remedy = f"Run `pip install '{requirement}' -c constraints.txt`."
            yield Finding(requirement.name, "problem", "not installed", remedy)
            continue
        if installed in requirement.specifier:
            yield Finding(requirement.name, "ok", installed)
        else:
            remedy = f"Run `pip install '{requirement}' -c constraints.txt`."
            yield Finding(requirement.name, "problem", f"{installed}, needs {requirement}", remedy)
