"""What annotators say of images, and how a prompt shows it: behind each image, on lines of its own.

A step of kind `annotate` leaves `notes.jsonl`, a row an image of a data set or a question of a
suite: {"set": the source or task, "of": the image or the question's number, "texts": [one a
picture]}.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ablate.data.chat import Chat, Messages
from ablate.data.conversations import IMAGE

FILE = "notes.jsonl"
TEXT = "{text}"


class Notes:
    """The notes of several annotators, as a design shows them: `outputs` as in a step's spec,
    `folders` of the steps that annotate, by role. What they hold is read when first asked for."""

    def __init__(self, outputs: Sequence[Mapping[str, Any]], folders: Mapping[str, Path]) -> None:
        self.outputs, self.folders = outputs, folders

    @classmethod
    def of(
        cls, outputs: Sequence[Mapping[str, Any]], folders: Mapping[str, Path]
    ) -> "Notes | None":
        """None where nothing is shown."""
        return cls(outputs, folders) if outputs else None

    @property
    def identity(self) -> list[Any]:
        """JSON that differs where the notes do: folders of steps are called by their keys."""
        return [
            [self.folders[output["of"]].name, output["template"], output["tokens"]]
            for output in self.outputs
        ]

    def on(self, name: str, of: str, chat: Chat) -> str:
        """All there is to say of an image of the source of this name."""
        return self.of_question(name, of, chat, 1)[0]

    def of_question(self, task: str, of: str, chat: Chat, images: int) -> list[str]:
        """The same of each image of a question; nothing of one that no annotator has seen."""
        notes = []
        for n in range(images):
            texts_of = [texts.get((task, of), []) for texts in self._texts]
            texts_here = [texts[n] if n < len(texts) else "" for texts in texts_of]
            notes.append(note(self.outputs, texts_here, chat.cut))
        return notes

    @cached_property
    def _texts(self) -> list[dict[tuple[str, str], list[str]]]:
        """What each annotator says, by source or task and image or question."""
        files = [self.folders[output["of"]] / FILE for output in self.outputs]
        return [{(row["set"], row["of"]): row["texts"] for row in read(file)} for file in files]


def note(
    outputs: Sequence[Mapping[str, Any]], texts: Iterable[str], cut: Callable[[str, int], str]
) -> str:
    """What stands behind an image of which the annotators of `outputs` say these texts, each `cut`
    to its tokens (see `ablate.data.chat`)."""
    parts = [
        cut(output["template"].replace(TEXT, text), output["tokens"])
        for output, text in zip(outputs, texts, strict=True)
        if text
    ]
    return "\n".join(parts)


def read(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of notes; one that was cut off while it was written is left out."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def image_name(image: str | bytes) -> str:
    """What notes call an image of a data set: its path, or the sha256 of an embedded one."""
    return f"sha256:{hashlib.sha256(image).hexdigest()}" if isinstance(image, bytes) else image


def with_notes(messages: Messages, notes: Iterable[str]) -> Messages:
    """The messages, behind each image the note on it where there is one."""
    in_turn = iter(notes)
    return [{**message, "content": annotated(message["content"], in_turn)} for message in messages]


def annotated(text: str, notes: Iterator[str]) -> str:
    """A turn's text, behind each of its images the next note."""
    before, *rest = text.split(IMAGE)
    for n, behind in enumerate(rest, start=1):
        note = next(notes, "")
        ends = n == len(rest) and not behind
        end = "\n" * bool(note and not ends and not behind.startswith("\n"))
        before += IMAGE + f"\n{note}{end}" * bool(note) + behind
    return before
