"""Finds a launcher by its name, or by the drive that it has begun."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ablate.catalog import launchers
from ablate.launch.launcher import Launcher


@cache
def launcher(name: str) -> Launcher:
    """The launcher of this name. UserError for an unknown one, or one that cannot be imported."""
    loaded: Launcher = launchers.load(name)(name)
    return loaded


def every() -> Iterator[Launcher]:
    """Each launcher there is."""
    return map(launcher, launchers.names())


def of_drive(drive: Path, name: str | None) -> Launcher:
    """The launcher that the drive in this folder names; else, as of an older version's, the one
    that knows jobs there, or the default one."""
    if name is not None:
        return launcher(name)
    knowing = (launcher for launcher in every() if launcher.submissions(drive).submitted())
    return next(knowing, launcher(launchers.DEFAULT))


def remote() -> str:
    """The launchers that have a queue of their own, as an option, in words."""
    return " or ".join(f"--backend {launcher.name}" for launcher in every() if launcher.remote)
