"""Files and folders: writes that are seen whole or not at all, checksums, and where results go."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DATA = "$ABLATE_DATA"
REMEMBERED = 2**24
"""Bytes from which on a checksum is remembered: fewer are quicker read than looked up."""


def home() -> Path:
    """The folder of everything `ablate` leaves behind: `$ABLATE_HOME`, or else `./runs`."""
    return Path(os.environ.get("ABLATE_HOME") or "runs").absolute()


def datasets() -> Path:
    """The root of all data sets and benchmarks: `$ABLATE_DATA`, or else `datasets` in `home()`."""
    return Path(os.environ.get(DATA[1:]) or home() / "datasets").absolute()


def placed(path: Path, folder: Path) -> Path:
    """A path as a study has it: below `datasets()` where it starts with `$ABLATE_DATA`, or else
    relative to `folder`."""
    return datasets().joinpath(*path.parts[1:]) if path.parts[:1] == (DATA,) else folder / path


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` at the end, durable and in one rename.

    No reader ever sees half of it; after an exception nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        yield draft
        os.fsync(handle)
        draft.chmod(0o644)  # mkstemp gives 0600; results are meant to be read by a team
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Put `content` at `path`, durable and in one rename: no reader ever sees half of it."""
    with drafted(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; NaN is an error."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in the file `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_file(path: Path) -> str:
    """The sha256 of the file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(paths: list[Path], start: Path | None = None) -> str:
    """One sha256 over the files' contents, and over their names below `start` if it is given.

    Remembered in `home()` for as long as the files' sizes and times stay as they are.
    """
    stats = [(path, path.stat()) for path in paths if path.is_file()]
    listing = [[str(path.absolute()), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    seen = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    memory = home() / "checksums" / f"{seen[:32]}.json"
    if memory.is_file():
        return str(read_json(memory))
    names = [path.relative_to(start).as_posix() if start else "" for path, _ in stats]
    parts = [[name, sha256_file(path)] for name, (path, _) in zip(names, stats, strict=True)]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    if sum(stat.st_size for _, stat in stats) >= REMEMBERED:
        write_json(memory, digest)
    return digest
