"""The launchers there are, the words of `--backend`: ours by name, and those of other packages.

A launcher of ours is a folder of `ablate/launch`, whose `launcher.py` holds a class named the same
in CamelCase. Another package offers one by an entry point in the group `ablate.launchers` that
names its class (see `ablate.launch.launcher`). Asking for names imports none of them.
"""

from importlib.metadata import EntryPoint
from pathlib import Path

from ablate.errors import UserError
from fusion_zoo import Registry

DEFAULT = "local"
"""The one that runs where a user names none."""


def _folders() -> dict[str, EntryPoint]:
    files = (Path(__file__).parents[1] / "launch").glob("*/launcher.py")
    names = {name: name.title().replace("_", "") for name in sorted(at.parent.name for at in files)}
    return {
        name: EntryPoint(name, f"ablate.launch.{name}.launcher:{cls}", "")
        for name, cls in names.items()
    }


LAUNCHERS = Registry("backend", "ablate.launchers", _folders, error=UserError)
names = LAUNCHERS.names
load = LAUNCHERS.load


def checked(name: str) -> str:
    """The name, where there is such a launcher. Raises UserError with the nearest elsewhere."""
    return LAUNCHERS.entry(name).name
