"""Reading conversations in LLaVA's format, and saying exactly what is wrong with a bad one.

A file is a JSON list, or JSONL (one object a line), of rows such as
`{"id": "7", "image": "7.png", "conversations": [{"from": "human", "value": "<image>\\nwhat ..."},
{"from": "gpt", "value": "..."}]}`. `image` may be missing (text only) or a list of paths. A
`system` turn may come first; then human and gpt take turns, the gpt last.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ablate.errors import UserError, nearest

IMAGE = "<image>"
ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
"""LLaVA's names of who speaks, and those of chat templates."""


@dataclass(frozen=True)
class Conversation:
    """One checked row: `where` names file and row for errors, `messages` are a chat template's."""

    where: str
    id: str
    images: tuple[str, ...]
    messages: list[dict[str, str]]


def read(path: Path, start: Path) -> Iterator[Conversation]:
    """The conversations of the file `path`, whose image paths start at the folder `start`.

    Raises `UserError` (file and line or row, field, what is wrong) at the first bad row.
    """
    empty = True
    for where, raw in rows(path):
        empty = False
        yield _conversation(where, raw, start)
    if empty:
        raise UserError(f"{path}: holds no conversation")


def rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row of a JSON or JSONL file as (`file:line` or `file, row n`, value)."""
    try:
        with path.open(encoding="utf-8") as file:
            start = file.read(64).lstrip("\ufeff \t\r\n")[:1]
            file.seek(0)
            if start == "[":
                for number, value in enumerate(json.load(file)):
                    yield f"{path}, row {number + 1}", value
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}:{number}"
                    try:
                        yield where, json.loads(line)
                    except json.JSONDecodeError as error:
                        raise UserError(f"{where}: not JSON: {error.msg}") from None
    except FileNotFoundError:
        raise UserError(f"no conversations at {path}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None


def _conversation(where: str, raw: Any, folder: Path) -> Conversation:
    if not isinstance(raw, dict):
        raise UserError(f"{where}: a row must be an object, not {type(raw).__name__}")
    identity = str(raw.get("id", ""))
    where = f"{where} (id {identity!r})"
    messages = _messages(where, raw.get("conversations"))
    images = _images(where, raw.get("image"), folder)
    marks = [message["content"].count(IMAGE) for message in messages]
    if any(n for n, message in zip(marks, messages, strict=True) if message["role"] != "user"):
        raise UserError(f"{where}: {IMAGE} stands outside the human's turns")
    if sum(marks) != len(images):
        raise UserError(f"{where}: {sum(marks)} {IMAGE} in the turns but {len(images)} in 'image'")
    return Conversation(where, identity, images, messages)


def _messages(where: str, turns: Any) -> list[dict[str, str]]:
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{where}: 'conversations' must be a list of turns")
    messages = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise UserError(
                f"{where}: turn {number} must be an object with 'from' and text 'value'"
            )
        role = turn.get("from")
        if role not in ROLES:
            raise UserError(f"{where}: turn {number} is from {role!r}{nearest(str(role), ROLES)}")
        messages.append({"role": ROLES[role], "content": turn["value"]})
    spoken = [message["role"] for message in messages]
    spoken = spoken[1:] if spoken[0] == "system" else spoken
    if spoken != ["user", "assistant"] * (len(spoken) // 2) or not spoken:
        raise UserError(f"{where}: human and gpt must take turns, the human first and the gpt last")
    return messages


def _images(where: str, value: Any, folder: Path) -> tuple[str, ...]:
    names = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: 'image' must be a path or a list of paths")
    for name in names:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise UserError(f"{where}: image {name!r} leaves the image folder")
        if not (folder / relative).is_file():
            raise UserError(f"{where}: no image at {folder / relative}")
    return tuple(names)
