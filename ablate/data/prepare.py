"""A data source, made once: `conversations.jsonl` and `images/` in a folder of its own."""

import fcntl
import hashlib
import json
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate.data.conversations import ROLES, Conversation, read
from ablate.data.spec import FileData, WorldData, fingerprint, parse


def prepare(source: Mapping[str, Any] | WorldData | FileData, root: Path) -> Path:
    """The folder `root/<name>-<hex12>` of the data source, made if it is not there yet.

    It holds `conversations.jsonl` (for the world's test split `questions.jsonl`) and `images/`,
    which for a user's own data is a link to their folder; image paths start with `images/`.
    It appears whole or not at all; a second process asking for the same waits. Raises `UserError`
    where the source is missing, or at its first bad row.
    """
    source = parse(source)
    content = json.dumps(fingerprint(source), sort_keys=True)
    folder = root / f"{source.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{folder.name}.lock"):
        if not folder.is_dir():
            # Only this machine is known to respect the lock, so each has its own partial folder.
            partial = root / f".{folder.name}.{socket.gethostname()}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _fill(source, partial)
            _put(partial, folder)
    return folder


def _fill(source: WorldData | FileData, folder: Path) -> None:
    if isinstance(source, WorldData):
        from ablate.data.world.build import build_split

        build_split(source.world, source.images, source.seed, folder)
        return
    (folder / "images").symlink_to(source.images.absolute(), target_is_directory=True)
    with (folder / "conversations.jsonl").open("w", encoding="utf-8") as file:
        for conversation in read(source.conversations, source.images):
            file.write(json.dumps(_row(conversation), ensure_ascii=False) + "\n")


def _row(conversation: Conversation) -> dict[str, Any]:
    speakers = {role: speaker for speaker, role in ROLES.items()}
    turns = [{"from": speakers[m["role"]], "value": m["content"]} for m in conversation.messages]
    images = [f"images/{name}" for name in conversation.images]
    return {"id": conversation.id, "image": images, "conversations": turns}


def _put(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.is_dir():  # otherwise another machine was first, with the same content
            raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
        yield
