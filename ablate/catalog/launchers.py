"""The launchers there are, the words of `--backend`: ours by name, and those of other packages.

A launcher of ours is a folder of `ablate/launch`, whose `launcher.py` holds a class named the same
in CamelCase. Another package offers one by an entry point in the group `ablate.launchers` that
names its class (see `ablate.launch.launcher`). Asking for names imports none of them.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ablate.errors import UserError, nearest

GROUP = "ablate.launchers"
DEFAULT = "local"
"""The one that runs where a user names none."""
_FOLDER = Path(__file__).parents[1] / "launch"


def names() -> list[str]:
    """Every launcher there is, ours first, each in alphabetical order."""
    return [*_ours(), *sorted(set(_theirs()) - set(_ours()))]


def checked(name: str) -> str:
    """The name, where there is such a launcher. Raises UserError with the nearest elsewhere."""
    if name not in _ours() and name not in _theirs():
        raise UserError(f"no backend '{name}'{nearest(name, names())}")
    return name


def load(name: str) -> Any:
    """The launcher's class. UserError for an unknown name, or one that cannot be imported."""
    entry = _ours().get(checked(name)) or _theirs()[name]
    try:
        return entry.load()
    except Exception as error:  # whatever another package raises
        said = f"{type(error).__name__}: {error}"
        raise UserError(
            f"the backend {name} ({entry.value}) cannot be loaded: {said}; mend that package, or "
            "uninstall it"
        ) from error


@cache
def _ours() -> dict[str, EntryPoint]:
    found = sorted(path.parent.name for path in _FOLDER.glob("*/launcher.py"))
    named = ((name, name.title().replace("_", "")) for name in found)
    return {
        name: EntryPoint(name, f"ablate.launch.{name}.launcher:{cls}", GROUP) for name, cls in named
    }


@cache
def _theirs() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
