"""Where libraries keep what they have read or made: in the user's home directory, or, where that
cannot be written, in `caches` of our own home. What lies in the hub's cache is still found there.
"""

import os
import tempfile
from functools import cache
from pathlib import Path

from ablate.files import home
from ablate.home import Home


def moved_caches() -> dict[str, str]:
    """The variables of libraries' caches whose folder cannot be written, each with one of ours.

    Those that can, by default or because the user has set them, are left out.
    """
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hugging_face = Path(os.environ.get("HF_HOME") or usual / "huggingface")
    places = {
        "XDG_CACHE_HOME": usual,
        "HF_HOME": hugging_face,
        "HF_DATASETS_CACHE": hugging_face / "datasets",
        "HF_MODULES_CACHE": hugging_face / "modules",
        "MPLCONFIGDIR": Path.home() / ".config" / "matplotlib",
        "TRITON_CACHE_DIR": Path.home() / ".triton" / "cache",
    }
    now = {name: Path(os.environ.get(name) or folder) for name, folder in places.items()}
    shut = [name for name, folder in now.items() if not is_writable(folder.expanduser())]
    moved = {name: str(Home(home()).caches / name.lower()) for name in shut}
    if "HF_HOME" in moved:
        moved["HF_HUB_CACHE"] = os.environ.get("HF_HUB_CACHE") or str(hugging_face / "hub")
    return moved


def use_writable_caches() -> None:
    """Set `moved_caches` for this process and its children; before a library reads them."""
    os.environ |= moved_caches()


@cache
def is_writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the nearest above it that there is."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False
