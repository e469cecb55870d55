"""Files and folders: writes that are seen whole or not at all, checksums, and where results go."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from ablate.errors import UserError
from ablate.home import Home

Result = TypeVar("Result")
DATA = "$ABLATE_DATA"
SEAL = "sha256"
MISSHAPEN = (ValueError, RecursionError, KeyError, TypeError, AttributeError)
"""What goes wrong with JSON that is damaged, or not of the shape we wrote it in."""
UNREADABLE = (OSError, *MISSHAPEN)
"""What comes of reading a file that is gone, damaged, or not one of ours."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""What the system says where nothing can be written, or not so much."""
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What goes wrong where a file should be and is none."""
PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
"""What a network file system says when a file was replaced meanwhile, or its server is away."""
PART = 2**16
"""Bytes of a file that are read at once."""
REMEMBERED = 2**24
"""Bytes from which on a checksum is remembered: fewer are quicker read than looked up."""


def home() -> Path:
    """The folder of everything `ablate` leaves behind: `$ABLATE_HOME`, or else `./runs`.

    UserError where that is no folder.
    """
    folder = Path(os.environ.get("ABLATE_HOME") or "runs").expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file and no folder: choose another $ABLATE_HOME")
    return folder


def datasets() -> Path:
    """The root of all data sets and benchmarks: `$ABLATE_DATA`, or else `datasets` in `home()`."""
    return Path(os.environ.get(DATA[1:]) or Home(home()).datasets).expanduser().absolute()


def resolve_path(path: Path, folder: Path) -> Path:
    """A path as a study has it: below `datasets()` where it starts with `$ABLATE_DATA`, or else
    relative to `folder`."""
    return datasets().joinpath(*path.parts[1:]) if path.parts[:1] == (DATA,) else folder / path


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A disk that is full or read-only as a UserError: nothing that is finished is lost. So is a
    file that another user keeps to themselves."""
    try:
        yield
    except OSError as error:
        denied = isinstance(error, PermissionError) and str(error.filename).startswith(str(folder))
        if error.errno not in FULL and not denied:
            raise
        if denied and (owner := _kept_by(Path(str(error.filename)))):
            raise UserError(
                f"cannot read {error.filename}: it is for {owner} alone, whom you may ask for it"
            ) from None
        raise unwritable(folder, str(error.strerror)) from None


def _kept_by(path: Path) -> str | None:
    """Who owns a file or folder that is there and may not be read; None where it may be."""
    try:
        return None if os.access(path, os.R_OK) else path.owner()
    except KeyError:
        return "another user"
    except OSError:
        return None


def unwritable(folder: Path, reason: str) -> UserError:
    """What to do where nothing can be written below a folder, by what an error said of that."""
    words = re.sub(r"^\[Errno \d+\] ", "", reason)
    if os.strerror(errno.EFBIG) in words:
        return UserError(
            f"cannot write below {folder}: {words}; see `ulimit -f`, which limits the size of a "
            "file, and start again, what is finished stays"
        )
    return UserError(
        f"cannot write below {folder}: {words}; make room or choose another $ABLATE_HOME and start "
        "again, what is finished stays"
    )


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` at the end, durable and in one rename.

    No reader ever sees half of it; after an exception nothing is left.
    """
    with suppress(FileExistsError):  # a network file system may not show it yet
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        flush(draft)  # which may be another file by now: safetensors puts a new one in its place
        as_made(draft)
        if path.is_dir():
            raise UserError(f"{path} is a folder and should be a file; move it away")
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def as_made(path: Path) -> None:
    """Let others have what was made for us alone, as the umask has it for what is new: libraries
    and temporary files begin as 0600 or 0700, but results are meant to be read by a team. What
    another user has made stays as it is."""
    if path.stat().st_uid == os.geteuid():
        path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def private() -> int:
    """The mode of a file that may hold a secret: for nobody else, but the group of a user whose
    umask lets the group write, which works together."""
    return 0o600 if _umask() & stat.S_IRWXG else 0o660


def _umask() -> int:
    """The process's own, which the system tells only to who sets it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(re.findall(r"^Umask:\s*([0-7]+)$", status, re.MULTILINE)[0], 8)
    except (OSError, IndexError):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def remove_temporary(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in `folder` and below: hidden
    files, ours and those of libraries (safetensors: `.tmpIyWz07`)."""
    for draft in folder.rglob(".*"):
        if not draft.is_dir():
            draft.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Put `content` at `path`, durable and in one rename: no reader ever sees half of it."""
    with atomic_file(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that is appended to, if it is there; one that a kill has cut short is
    taken away, so that what is written next does not become a part of it."""
    if not path.is_file():
        return []
    with path.open("r+b") as file:
        lines = [line for line in file if line.endswith(b"\n")]
        file.truncate(sum(map(len, lines)))
    return [line.decode() for line in lines]


def flush(path: Path) -> None:
    """Force what a file or folder holds now to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; NaN is an error."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value in the file `path`. Raises ValueError for what is none."""
    try:
        return parse_json(retry_transient(partial(_content, path)))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def parse_json(content: bytes) -> Any:
    """The JSON value that this is. Raises ValueError for what is none."""
    with suppress(ValueError):
        return from_json(content)  # of many files their words are in memory once
    return json.loads(content.decode())  # also half a character, which a model may have said


def _content(path: Path | str) -> bytes:
    with FileIO(path) as file:  # of many small files a Path and a buffer are half the time
        return file.readall()


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with a checksum of itself, for `read_sealed` to hold it against."""
    return {**value, SEAL: sha256_json(value)}


def read_checked(path: Path | str) -> dict[str, Any] | None:
    """The JSON object at `path` without its checksum; None if it is not there, or not as sealed."""
    try:
        return without_checksum(read_json(path))
    except (*NO_FILE, ValueError):
        return None


def without_checksum(value: Any) -> dict[str, Any] | None:
    """What `with_checksum` was given; None if this is none, or not as sealed."""
    seal = value.pop(SEAL, None) if isinstance(value, dict) else None
    return value if seal is not None and seal == sha256_json(value) else None


def retry_transient(read: Callable[[], Result]) -> Result:
    """What `read` gives, asked again where a file server is away for a moment."""
    for pause in (0.02, 0.1, 0.5):
        try:
            return read()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            time.sleep(pause)
    return read()


def sha256_file(path: Path | str) -> str:
    """The sha256 of the file's bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    with FileIO(path) as file:
        while part := file.read(PART):
            digest.update(part)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """The sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256_files(paths: list[Path], start: Path | None = None) -> str:
    """One sha256 over the files' contents, and over their names below `start` if it is given.

    Remembered in `home()` for as long as the files' sizes and times stay as they are.
    """
    files = [path for path in paths if path.is_file()]

    def read() -> str:
        names = [path.relative_to(start).as_posix() if start else "" for path in files]
        return sha256_json(
            [[name, sha256_file(path)] for name, path in zip(names, files, strict=True)]
        )

    if sum(path.stat().st_size for path in files) < REMEMBERED:
        return read()
    return str(disk_cache("checksums", sizes_and_times(files), read))


def sizes_and_times(paths: Iterable[Path]) -> list[list[str | int]]:
    """Path, bytes, times of change and inode of each file: what it holds stays while these do.

    The second time is the system's own, which no program can set back.
    """
    stats = [(str(path.absolute()), path.stat()) for path in paths]
    return [[path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for path, s in stats]


def disk_cache(kind: str, made_of: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, a JSON value, kept in `home()` by what it is `made_of`, another."""
    memory = Home(home()).memory(kind, sha256_json(made_of)[:32])
    kept = read_checked(memory)
    if kept is None:
        kept = {"value": make()}
        with suppress(OSError):  # a disk that is full or read-only: it takes long again
            write_json(memory, with_checksum(kept))
    return kept["value"]


def remembered_while(kind: str, name: str, make: Callable[[], tuple[Any, Iterable[Path]]]) -> Any:
    """What `make` gives, a JSON value, kept in `home()` while the files it was made of stay.

    `make` also says which these are; of a folder it is the names in it that stay.
    """
    memory = Home(home()).memory(kind, sha256_json(name)[:32])
    kept = read_checked(memory)
    with suppress(OSError):  # one of the files is gone
        if kept and kept["of"] == sizes_and_times(Path(path) for path, *_ in kept["of"]):
            return kept["value"]
    value, paths = make()
    with suppress(OSError):  # a disk that is full or read-only: it takes long again
        write_json(memory, with_checksum({"value": value, "of": sizes_and_times(paths)}))
    return value
