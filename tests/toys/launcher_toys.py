"""The launcher of docs/extending.md, as a package of another author with its entry point."""

import re
import tomllib
from pathlib import Path

from ablate.catalog import launchers
from ablate.config import launcher_options
from ablate.launch import registry

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def code(language: str) -> str:
    """What docs/extending.md shows of a launcher in this language."""
    section = PAGE.read_text(encoding="utf-8").partition("## A launcher")[2]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def forget() -> None:
    """As a new process does, look for the launchers of other packages anew."""
    launchers._theirs.cache_clear()
    launcher_options._section.cache_clear()
    registry.launcher.cache_clear()


def install(site: Path, source: str | None = None) -> None:
    """Put the package and its dist-info into `site`; `source`: of its module, if another."""
    info, package = site / "my_package-0.1.dist-info", site / "my_package"
    for folder in info, package:
        folder.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1\n")
    groups = tomllib.loads(code("toml"))["project"]["entry-points"]
    lines = [f"{name} = {value}" for name, value in groups[launchers.GROUP].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{launchers.GROUP}]", *lines]))
    (package / "__init__.py").write_text("")
    (package / "quiet.py").write_text(code("python") if source is None else source)
