"""lmms-eval's requests as questions that are asked, and the pictures they show."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from lmms_eval.api.instance import Instance
from PIL import Image

from ablate.data.bad import reason
from ablate.data.images import upright_size
from ablate.errors import UserError
from ablate.evaluate.beginnings import Ids

Name = tuple[str, int]
"""A question as lmms-eval has it: its task, and its number there."""
MAX_NEW_TOKENS = 1024
"""Where a task sets no limit (as lmms-eval's own LLaVA); the end of the turn stops it sooner."""


class Picture(NamedTuple):
    """An image: how to open it, its file if it has one, what errors call it, and its number among
    those of which question."""

    open: Callable[[], Image.Image]
    file: str
    name: str
    key: Name
    number: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as it is seen. UserError where the file does not tell."""
        with readable(self.name):
            return upright_size(self.open())


class Ask(NamedTuple):
    """One question: its place among the requests, its names (for us and in errors), text, how it
    may be answered, what its prompt is with so many images, how to open them, and their files,
    where these are known: the task is not asked for them then."""

    number: int
    key: Name
    name: str
    text: str
    options: Mapping[str, Any]
    prompt: Ids
    images: int
    open_images: Callable[[], Sequence[Image.Image]]
    files: Sequence[str] | None = None

    @property
    def max_new_tokens(self) -> int:
        """How many tokens its answer may have."""
        return int(self.options.get("max_new_tokens", MAX_NEW_TOKENS))

    @property
    def stops(self) -> list[str]:
        """The texts that end its answer."""
        until = self.options.get("until") or []
        return [until] if isinstance(until, str) else list(until)

    def require_greedy(self) -> None:
        """UserError where its task has answers drawn, or searched by beams."""
        if self.options.get("do_sample") or self.options.get("num_beams", 1) != 1:
            raise UserError(f"ablate answers greedily, but the task asks for {self.options}")

    def open(self) -> list[Picture]:
        """Its images, not decoded where their task does not, nor opened in files that are known.

        UserError where its task cannot open them.
        """
        if self.files is not None:
            return [
                Picture(partial(Image.open, path), path, path, self.key, number)
                for number, path in enumerate(self.files)
            ]
        with readable(self.name):
            images = self.open_images()
        files = [str(getattr(image, "filename", "")) for image in images]
        return [
            Picture(_opened(image), file, file or self.name, self.key, number)
            for number, (image, file) in enumerate(zip(images, files, strict=True))
        ]


def _opened(image: Image.Image) -> Callable[[], Image.Image]:
    return lambda: image


def name_of(request: Instance) -> Name:
    """The task of a question and its number there."""
    _, _, _, doc_id, task, _ = request.args
    return task, doc_id


@contextmanager
def readable(name: str) -> Iterator[None]:
    """UserError of what an image of this name raises within."""
    try:
        yield
    except Exception as error:  # as `read_image`
        raise UserError(f"{name}: cannot be read as an image: {reason(error)}") from None
