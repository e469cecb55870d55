"""The launcher of docs/extending/launcher.md, as a package of another author."""

from pathlib import Path

from packages import install_package, shown, shown_offers

from ablate.config import launcher_options
from ablate.launch import registry

PAGE = "launcher"


def forget() -> None:
    """As a new process does, look for the launchers of other packages anew."""
    launcher_options._section.cache_clear()
    registry.launcher.cache_clear()


def install(site: Path, source: str | None = None) -> None:
    """Put the package into `site`; `source`: of its module, if another."""
    module = shown(PAGE, "python") if source is None else source
    install_package(site, "my_package", {"quiet": module}, shown_offers(PAGE))
