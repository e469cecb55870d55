"""Conversations in LLaVA's format, and exactly what is wrong with a bad one.

A row is such as `{"id": "7", "image": "7.png", "conversations": [{"from": "human", "value":
"<image>\\nwhat ..."}, {"from": "gpt", "value": "..."}]}`. `image` may be missing (text only), a
path, an embedded image, or a list of those. A `system` turn may come first; then human and gpt take
turns, the gpt last. `rejected` may say what is worse than its last answer: a pair, of which what
learns from single conversations has the better one.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ablate.errors import UserError, nearest

IMAGE = "<image>"
ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
"""LLaVA's names of who speaks, and those of chat templates."""


@dataclass(frozen=True)
class Conversation:
    """One checked row: `messages` are a chat template's, `images` paths or embedded files,
    `rejected` a worse answer than the last."""

    images: tuple[str | bytes, ...]
    messages: list[dict[str, str]]
    rejected: str | None = None

    def worse(self) -> list[dict[str, str]]:
        """The messages with the worse answer in place of the last; UserError if there is none."""
        if self.rejected is None:
            raise UserError("no 'rejected', the worse answer that a pair needs")
        if self.rejected.strip() == self.messages[-1]["content"].strip():
            raise UserError("'rejected' is the answer itself")
        return [*self.messages[:-1], {**self.messages[-1], "content": self.rejected}]


def says_something(row: Conversation) -> bool:
    """Whether the assistant says more than white space in it."""
    answers = (message["content"] for message in row.messages if message["role"] == "assistant")
    return any(map(str.strip, answers))


def conversation(raw: Any, folder: Path | None) -> Conversation:
    """The checked row; its image paths start at `folder`.

    Raises `UserError` (the field, what is wrong) for most bad rows; a hostile one may raise
    anything: `ablate.data.rows` says which row it was.
    """
    if not isinstance(raw, dict):
        raise UserError(f"a row must be an object, not {type(raw).__name__}")
    messages = _messages(raw.get("conversations"))
    images = _images(raw.get("image"), folder)
    marks = [message["content"].count(IMAGE) for message in messages]
    if any(n for n, message in zip(marks, messages, strict=True) if message["role"] != "user"):
        raise UserError(f"{IMAGE} stands outside the human's turns")
    if sum(marks) != len(images):
        raise UserError(f"{sum(marks)} {IMAGE} in the turns but {len(images)} in 'image'")
    rejected = raw.get("rejected")
    if rejected is not None and not isinstance(rejected, str):
        raise UserError(f"'rejected' must be a text, not {type(rejected).__name__}")
    return Conversation(images, messages, rejected)


def _messages(turns: Any) -> list[dict[str, str]]:
    if isinstance(turns, dict) and all(isinstance(column, list) for column in turns.values()):
        # A column each, as `datasets` stores a sequence of turns.
        turns = [dict(zip(turns, turn, strict=True)) for turn in zip(*turns.values(), strict=True)]
    if not isinstance(turns, list) or not turns:
        raise UserError("'conversations' must be a list of turns")
    messages = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise UserError(f"turn {number} must be an object with 'from' and text 'value'")
        role = turn.get("from")
        if not isinstance(role, str) or role not in ROLES:
            raise UserError(f"turn {number} is from {role!r}{nearest(str(role), ROLES)}")
        if any("\ud800" <= c <= "\udfff" for c in turn["value"]):
            raise UserError(f"turn {number} is not UTF-8, or holds half a character (a surrogate)")
        messages.append({"role": ROLES[role], "content": turn["value"]})
    spoken = [message["role"] for message in messages]
    spoken = spoken[1:] if spoken[0] == "system" else spoken
    if spoken != ["user", "assistant"] * (len(spoken) // 2) or not spoken:
        raise UserError("human and gpt must take turns, the human first and the gpt last")
    return messages


def _images(value: Any, folder: Path | None) -> tuple[str | bytes, ...]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(_image(image, folder) for image in values)


def _image(value: Any, folder: Path | None) -> str | bytes:
    """A path below `folder`, or the bytes of an image file."""
    if isinstance(value, dict) and {"bytes", "path"} & value.keys():  # as `datasets` stores images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UserError("'image' must be a path, an embedded image, or a list of those")
    relative = PurePosixPath(value)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"image {value!r} leaves the image folder")
    if folder is None:
        raise UserError(f"image {value!r}, but the source names no folder of images")
    if not (folder / relative).is_file():
        raise UserError(f"no image at {folder / relative}")
    return value
