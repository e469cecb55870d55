"""Data that we make ourselves (drawn worlds, their tasks, indices) in folders, held to be whole.

A folder appears whole or not at all, with a manifest of the size and sha256 of each of its files.
Whoever opens it looks at sizes and times; where these are not those that were last found right, all
files are read. One that is damaged is moved to `quarantine` beside it, and made anew.
"""

import fcntl
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ablate.errors import UserError
from ablate.files import (
    NO_FILE,
    as_made,
    disk_cache,
    read_checked,
    sha256_file,
    sizes_and_times,
    with_checksum,
    write_json,
)

MANIFEST = "manifest.json"


def made(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled if it is not there or not as it was made; whole, and by one process."""
    if folder.is_dir() and problem(folder) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir() and (fault := problem(folder)):
            aside = _set_aside(folder)
            print(f"{folder}: {fault}; moved to {aside}, is made anew", file=sys.stderr)
        if not folder.is_dir():
            # Only this machine is known to respect the lock, so each has its own partial folder.
            partial = folder.parent / f".{folder.name}.{socket.gethostname()}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            as_made(partial)
            write_json(partial / MANIFEST, with_checksum({"files": _listed(partial)}))
            put(partial, folder)
    return folder


def problem(folder: Path) -> str | None:
    """What is not as the folder's manifest says, in words; None if all is."""
    manifest = read_checked(folder / MANIFEST)
    if manifest is None:
        return "its manifest is damaged, or it was made by an older version"
    files = {folder / name: stated for name, stated in manifest["files"].items()}
    try:
        seen = sizes_and_times(files)
    except NO_FILE as error:
        return f"{Path(error.filename).relative_to(folder)} is missing"
    for (path, stated), (_, size, *_) in zip(files.items(), seen, strict=True):
        if size != stated["size"]:
            return f"{path.relative_to(folder)} has {size} bytes, not {stated['size']}"

    def read() -> str:
        sums = _sums(list(files))
        wrong = (path for path, sum_ in sums.items() if sum_ != files[path]["sha256"])
        path = next(wrong, None)
        return f"the checksum of {path.relative_to(folder)} does not hold" if path else ""

    return disk_cache("made", [manifest, seen], read) or None


def put(partial: Path, folder: Path) -> None:
    """Give a folder that is whole its name."""
    try:
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.is_dir():  # otherwise another machine was first, with the same content
            raise


def _listed(folder: Path) -> dict[str, dict[str, int | str]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256}
        for path, sha256 in _sums(paths).items()
    }


def _sums(paths: list[Path]) -> dict[Path, str]:
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return dict(zip(paths, pool.map(sha256_file, paths), strict=True))


def _set_aside(folder: Path) -> Path:
    """Move a folder to the quarantine; its place there."""
    aside = folder.parent / "quarantine"
    aside.mkdir(exist_ok=True)
    for number in range(1, 1000):
        target = aside / f"{folder.name}.{number}"
        if not target.exists():
            folder.rename(target)
            return target
    raise UserError(f"{aside} is full of bad copies of {folder.name}: check the disk")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
        yield
