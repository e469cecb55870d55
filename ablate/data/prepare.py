"""Data made ready once: the world drawn, and conversations tokenised into an index on disk."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import DataSource, Files, WorldData, parse
from ablate.data.bad import ErrorBudget
from ablate.data.chat import Chat
from ablate.data.index import Index, Writer
from ablate.data.made import made
from ablate.data.notes import Notes
from ablate.data.readers import Reader, reader
from ablate.data.rows import Understanding
from ablate.errors import UserError

VERSION = 3
"""Raised when the same conversations would be tokenised or stored differently by our code."""

CHUNK = 1024
"""Conversations checked and tokenised at a time."""

NEAR = 0.05
"""How far, as a share, the rows of a source may be from those it declares."""


def prepare(source: Mapping[str, Any] | DataSource, root: Path) -> Path:
    """The folder `root/<name>-<hex12>` of a world, drawn if it is not there yet.

    It holds `conversations.jsonl` (for the test split `questions.jsonl`) and `images/`. It appears
    whole or not at all, and is drawn anew where it is damaged (see `made`); a second process asking
    for the same waits.
    """
    source = parse(source)
    if not isinstance(source, WorldData):
        raise UserError("only a world can be drawn; conversations in files are used where they lie")
    world = source

    def fill(folder: Path) -> None:
        from ablate.data.world.build import build_split

        build_split(world.world, world.images, world.seed, folder)

    return made(root / f"{world.name}-{_hex12(fingerprint(world))}", fill)


def files_of(source: DataSource, root: Path) -> dict[str, Files]:
    """The files of each part of a source, by name; a world is drawn to `root`, and is one."""
    if isinstance(source, WorldData):
        folder = prepare(source, root)
        return {source.name: Files(conversations=folder / "conversations.jsonl", images=folder)}
    return dict(source.parts)


@dataclass(frozen=True)
class Part:
    """One source made ready: its rows tokenised, and its budget with the bad rows found so far."""

    files: Files
    rows: Reader
    index: Index
    budget: ErrorBudget


def indexed(
    name: str, files: Files, content: Any, chat: Chat, root: Path, notes: Notes | None = None
) -> Part:
    """The conversations in `files` with their index, kept in a folder `root/<name>-<hex12>`.

    `content`: JSON that differs where the files do, such as their digests; `notes`: what is said of
    the images, which stands behind each. If it or the tokenizer
    is new, the index is made in one pass, in memory that does not grow with the rows; it appears
    whole or not at all. Bad rows are left out. Raises `UserError` where they are more than the
    source allows, or where there are far more or fewer rows than it declares.
    """
    rows = reader(files.conversations)
    identity = {"content": content, "chat": chat.fingerprint, "version": VERSION}
    identity |= {"notes": notes.identity} if notes else {}

    def fill(folder: Path) -> None:
        _index(name, files, rows, Understanding(rows, files.images, chat, notes, name), folder)

    index = Index(made(root / f"{name}-{_hex12(identity)}", fill))
    read, bad = index.report["rows"], index.report["bad"]
    if files.rows and abs(read - files.rows) > NEAR * files.rows:
        raise UserError(f"{name}: {read:,} rows, but it declares {files.rows:,} (rows)")
    budget = ErrorBudget(name, files.allowed(read))
    budget.spend(bad["count"], bad["first"])
    return Part(files, rows, index, budget)


def image_file(part: Part, file: str | bytes) -> Path | bytes:
    """Where an image is that the index names, or the file itself."""
    return file if isinstance(file, bytes) else (part.files.images or Path()) / file


def _index(
    name: str, files: Files, rows: Reader, understanding: Understanding, folder: Path
) -> None:
    stream, read = iter(rows), 0
    spoken = False  # whether any answer is more than white space
    bad = ErrorBudget(name, files.allowed(sys.maxsize))  # a share is judged when all rows are known
    with Writer(folder) as writer:
        while chunk := list(islice(stream, CHUNK)):
            good, reasons = understanding.rows(chunk)
            spoken = spoken or any(row.spoken for row in good)
            read += len(chunk)
            bad.spend(len(reasons), reasons)
            writer.add(good)
            if read % (64 * CHUNK) == 0:
                print(f"{name}: {read:,} rows read", file=sys.stderr)
        if read == 0:
            raise UserError(f"{files.conversations}: holds no conversation")
        if not spoken and bad.bad < read:
            raise UserError(f"{files.conversations}: every answer is empty: nothing can be learnt")
        writer.close({"rows": read, "bad": bad.to_json()})


def _hex12(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
