"""A user's own conversations as questions with known answers, made ready once.

A row is as in training (`ablate.data.conversations`); each of the human's turns is a question by
itself, about the row's images, and what the gpt says to it the truth.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ablate.catalog.suites import SuiteTask
from ablate.data.bad import identified, reason
from ablate.data.conversations import IMAGE, Conversation, conversation
from ablate.data.images import read_image
from ablate.data.made import made
from ablate.data.readers import Reader, Unreadable, reader
from ablate.errors import UserError
from ablate.files import sha256_json

VERSION = 1
"""Raised when the same conversations would be asked otherwise."""

Row = dict[str, Any]
Misfit = Callable[[str], str | None]
"""Why a true answer cannot be scored; None if it can."""


def prepare_own_questions(task: SuiteTask, misfit: Misfit, root: Path) -> Path:
    """The folder `root/own-<task>-<hex12>`: `questions.jsonl`, and `images/` with a copy of each.

    It appears whole or not at all (see `made`). Raises `UserError` at the first row that cannot be
    asked, naming file, row and id: no answer in it, an image that is none, an answer that is a
    `misfit` for the task's metric; or where there are not as many questions as declared.
    """
    questions = task.own
    assert questions is not None
    content = sha256_json([VERSION, questions.fingerprint(), task.metric, task.questions])

    def fill(partial: Path) -> None:
        source = reader(questions.conversations)
        rows = list(_questions(source, questions.images, partial, misfit))
        if not rows:
            raise UserError(f"{questions.conversations}: there is no question in it")
        if task.questions not in (None, len(rows)):
            declared = f"{len(rows):,} questions, but it declares {task.questions:,} (questions)"
            raise UserError(f"{questions.conversations}: {declared}")
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (partial / "questions.jsonl").write_text(text, encoding="utf-8")

    return made(root / f"own-{task.task}-{content[:12]}", fill)


def read_own_questions(folder: Path) -> list[Row]:
    """Of a folder of `prepare_own_questions`: id, image, images, question and answer of each.

    `images` are paths in the folder, and `image` the first of them.
    """
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _questions(source: Reader, images: Path | None, into: Path, misfit: Misfit) -> Iterator[Row]:
    asked = 0
    copies: dict[str, str] = {}
    for number, raw in source:
        try:
            if isinstance(raw, Unreadable):
                raise UserError(raw.reason)
            talk = conversation(raw, images)
            shown = [_copied(image, images, into, copies) for image in talk.images]
            for question, answer in _pairs(talk):
                if fault := misfit(answer):
                    raise UserError(fault)
                yield {
                    "id": f"{asked:06d}",
                    "image": shown[0] if shown else f"none/{number:06d}",
                    "images": shown,
                    "question": question,
                    "answer": answer,
                }
                asked += 1
        except Exception as error:  # a row is anyone's data: whatever it is, it is this row
            identity = raw.get("id", "") if isinstance(raw, dict) else ""
            where = identified(source.where(number), str(identity)[:80])
            raise UserError(f"{where}: {reason(error)}") from None


def _pairs(talk: Conversation) -> Iterator[tuple[str, str]]:
    """Each question, without the marks of images, and the answer to it."""
    if talk.messages[0]["role"] == "system":
        raise UserError("a system turn: a benchmark asks questions alone; put it into the question")
    turns = [message["content"].strip() for message in talk.messages]
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        if not answer:
            raise UserError(f"no answer to {question[:80]!r}")
        yield _unmarked(question, len(talk.images)), answer


def _unmarked(question: str, images: int) -> str:
    """Marks before or after the question say nothing; among words they stay, if all are there."""
    bare = question
    while bare.startswith(IMAGE) or bare.endswith(IMAGE):
        bare = bare.removeprefix(IMAGE).removesuffix(IMAGE).strip()
    if IMAGE not in bare:
        return bare
    if question.count(IMAGE) != images:
        raise UserError(f"{question[:80]!r} stands on {question.count(IMAGE)} of {images} images")
    return question


def _copied(image: str | bytes, images: Path | None, into: Path, copies: dict[str, str]) -> str:
    """Where in the folder the image is now, once it is known to be one."""
    if isinstance(image, str) and image in copies:
        return copies[image]
    if isinstance(image, bytes):
        read_image(image)
        content = image
    else:
        file = Path(images or ".") / image
        read_image(file)
        content = file.read_bytes()
    suffix = PurePosixPath(image).suffix if isinstance(image, str) else ""
    name = f"images/{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    (into / "images").mkdir(exist_ok=True)
    if not (into / name).exists():
        (into / name).write_bytes(content)
    if isinstance(image, str):
        copies[image] = name
    return name
