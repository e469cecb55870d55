"""Packages of other authors, as pip leaves them in a folder, and what docs/extending shows."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "extending"
Offers = Mapping[str, Mapping[str, str]]
"""By the group of entry points: the names in it, and where each is (`package.module:attribute`)."""


def install_package(
    site: Path, name: str, modules: Mapping[str, str], offers: Offers, version: str = "0.1"
) -> None:
    """Put a package of these modules (source by name) and its metadata into `site`."""
    package, info = site / name, site / f"{name}-{version}.dist-info"
    for folder in (package, info):
        folder.mkdir(parents=True)
    for module, source in {"__init__": "", **modules}.items():
        (package / f"{module}.py").write_text(source)
    own = name.replace("_", "-")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {own}\nVersion: {version}\n")
    lines = (
        f"[{group}]\n" + "".join(f"{word} = {at}\n" for word, at in entries.items())
        for group, entries in offers.items()
    )
    (info / "entry_points.txt").write_text("\n".join(lines))


def replaced(source: str, *changes: tuple[str, str]) -> str:
    """The source with parts of it replaced, each of which is there."""
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


def shown(page: str, language: str) -> str:
    """The first block of this language on a page of docs/extending, such as `fusion`."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return blocks[0]


def shown_offers(page: str) -> Offers:
    """The entry points that a page shows."""
    offers: Offers = tomllib.loads(shown(page, "toml"))["project"]["entry-points"]
    return offers
