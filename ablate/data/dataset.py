"""Prepared conversations, tokenised once into flat arrays on disk, and their images.

Shapes: B batch, T tokens, I images in the batch, H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import load, save

from ablate.data.chat import Chat
from ablate.data.conversations import read
from ablate.errors import UserError
from ablate.files import write_atomic

VERSION = 1
"""Raised when the same conversations would be tokenised differently by our code."""

CHUNK = 1024
"""Conversations tokenised at a time."""


class Sample(NamedTuple):
    """One conversation: `ids` (T,) int32, `learn` (T,) bool, `images` (3,H,W) uint8 each."""

    ids: npt.NDArray[np.int32]
    learn: npt.NDArray[np.bool_]
    images: list[npt.NDArray[np.uint8]]


class Conversations:
    """The conversations of a prepared folder as samples; `len()` and `[i]`.

    The tokens are made on first use for a tokenizer and kept in the folder. `canvas` is that of
    `read_image`. Raises `UserError` (file and row) for a bad row, one longer than `max_length`
    tokens (an image counts as `visual_tokens`), or one in which nothing is learnt.
    """

    def __init__(
        self,
        folder: Path,
        chat: Chat,
        *,
        max_length: int,
        visual_tokens: int,
        canvas: int | None = None,
    ) -> None:
        self.folder = folder
        self.canvas = canvas
        path = folder / f"tokens-{chat.fingerprint[:12]}-{VERSION}.safetensors"
        if not path.is_file():
            write_atomic(path, save(_tokenise(folder, chat)))
        arrays = load(path.read_bytes())
        self._ids, self._learn = arrays["ids"], arrays["learn"].astype(bool)
        self._starts, self._image_starts = arrays["starts"], arrays["image_starts"]
        self._images: list[str] = arrays["images"].tobytes().decode().split("\0")
        self.learnt = np.add.reduceat(self._learn, self._starts[:-1], dtype=np.int64)
        """How many tokens are learnt from in each sample, (n,) int64."""
        lengths = np.diff(self._starts) + np.diff(self._image_starts) * (visual_tokens - 1)
        for row in np.flatnonzero(lengths > max_length)[:1]:
            raise UserError(
                f"{self._where(row)}: {lengths[row]} tokens, {visual_tokens} for each image, but "
                f"only {max_length} fit (max_length of the stage, context of the language model)"
            )
        for row in np.flatnonzero(self.learnt == 0)[:1]:
            raise UserError(f"{self._where(row)}: the assistant says nothing to learn from")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, row: int) -> Sample:
        tokens = slice(self._starts[row], self._starts[row + 1])
        names = self._images[self._image_starts[row] : self._image_starts[row + 1]]
        try:
            images = [read_image(self.folder / name, self.canvas) for name in names]
        except UserError as error:
            raise UserError(f"{self._where(row)}: {error}") from None
        return Sample(self._ids[tokens], self._learn[tokens], images)

    def _where(self, row: int) -> str:
        return f"{self.folder / 'conversations.jsonl'}:{row + 1}"


def _tokenise(folder: Path, chat: Chat) -> dict[str, npt.NDArray[np.generic]]:
    """All conversations end to end: where each starts, its ids, and its images' names."""
    conversations = list(read(folder / "conversations.jsonl", folder))
    ids: list[npt.NDArray[np.int32]] = []
    learn: list[npt.NDArray[np.bool_]] = []
    for first in range(0, len(conversations), CHUNK):
        chunk = [conversation.messages for conversation in conversations[first : first + CHUNK]]
        tokens = chat.encode(chunk)
        ids += [t.ids for t in tokens]
        learn += [t.learn for t in tokens]
    names = "\0".join(name for conversation in conversations for name in conversation.images)
    return {
        "ids": np.concatenate(ids),
        "learn": np.concatenate(learn).astype(np.uint8),
        "starts": _starts([len(i) for i in ids]),
        "image_starts": _starts([len(conversation.images) for conversation in conversations]),
        "images": np.frombuffer(names.encode(), dtype=np.uint8),
    }


def _starts(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)


def read_image(path: Path, canvas: int | None = None) -> npt.NDArray[np.uint8]:
    """The image file as RGB (3,H,W); with `canvas` padded to a square and resized to that side.

    Padding is black and even on both sides; resizing is bicubic and antialiased. Raises `UserError`
    for a missing or broken file.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"no image at {path}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None
    return as_array(image, canvas)


def as_array(image: Image.Image, canvas: int | None = None) -> npt.NDArray[np.uint8]:
    """The RGB image as (3,H,W), with `canvas` padded and resized as `read_image` says."""
    if canvas is not None and image.size != (canvas, canvas):
        image = _squared(image).resize((canvas, canvas), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _squared(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
