"""The project with files added to it: a folder of links to the checkout, and the new files."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import anew

ROOT = Path(__file__).parents[2]
PACKAGES = ("ablate", "fusion_zoo")


def overlay(site: Path, added: Mapping[str, str]) -> Path:
    """Put both packages into `site`, with the files `added` by their path, and give `site`."""
    for name in PACKAGES:
        _link(ROOT / name, site / name, [Path(path) for path in added], Path(name))
    for path, text in added.items():
        (site / path).write_text(text)
    return site


def _link(real: Path, copy: Path, added: list[Path], here: Path) -> None:
    """A link to a folder; where something is added below it, a folder of links."""
    if not any(here in path.parents for path in added):
        copy.symlink_to(real)
        return
    copy.mkdir(parents=True)
    for one in real.iterdir():
        if one.name != "__pycache__":
            _link(one, copy / one.name, added, here / one.name)


def run(home: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of a user for whom `site` comes first; it must end well."""
    return anew.ablate(home, site, *words, cwd=site)
