"""Files and folders: writes that are seen whole or not at all, checksums, and where results go."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

DATA = "$ABLATE_DATA"


def home() -> Path:
    """The folder of everything `ablate` leaves behind: `$ABLATE_HOME`, or else `./runs`."""
    return Path(os.environ.get("ABLATE_HOME") or "runs").absolute()


def placed(path: Path, folder: Path) -> Path:
    """A path as a study has it: below the root of data sets, or else relative to `folder`.

    Below the root is what starts with `$ABLATE_DATA`: the folder that variable names, or without
    it `datasets` in `home()`.
    """
    if path.parts[:1] != (DATA,):
        return folder / path
    root = Path(os.environ.get(DATA[1:]) or home() / "datasets").absolute()
    return root.joinpath(*path.parts[1:])


def write_atomic(path: Path, content: str | bytes) -> None:
    """Put `content` at `path`, durable and in one rename: no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)  # mkstemp gives 0600; results are meant to be read by a team
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


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
