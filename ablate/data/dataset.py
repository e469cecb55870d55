"""The conversations a stage learns from: rows of one or several sources, and their images.

Shapes: B batch, T tokens, I images in the batch, H W pixels, F values of an image's features.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ablate.catalog.data_sources import DataSource, Files, WorldData
from ablate.data.bad import identified
from ablate.data.chat import Chat
from ablate.data.features import Features
from ablate.data.images import read_image
from ablate.data.prepare import Part, indexed, prepare
from ablate.errors import UserError

Pixels = npt.NDArray[np.uint8]
Picture = Pixels | npt.NDArray[np.float32]


class Sample(NamedTuple):
    """One conversation: `ids` (T,) int32, `learn` (T,) bool, `images` (3,H,W) uint8 each, or
    the features (F,) float32 of each."""

    ids: npt.NDArray[np.int32]
    learn: npt.NDArray[np.bool_]
    images: list[Picture]


class BadImage(NamedTuple):
    """A row whose image turned out to be unreadable: its source, its number in it, and why."""

    source: str
    number: int
    reason: str


class Conversations:
    """The conversations of a data source as samples; `len()` and `[i]`.

    `content` is what `fingerprint` says of the source, `root` keeps what is prepared. They stand
    source by source, those of a source in the order of its rows; a weight below 1 picks the same
    rows for every tokenizer, model and stage. Rows longer than `max_length` tokens (an image counts
    as `visual_tokens`) or without anything to learn are bad rows as those are that cannot be read:
    `UserError` (file and row) beyond what the source allows. Nothing of the data is held in memory
    but four numbers a sample. `features`: of a source, by name, to be given in place of its pixels.
    """

    def __init__(
        self,
        source: DataSource,
        content: Mapping[str, Any],
        chat: Chat,
        root: Path,
        *,
        max_length: int,
        visual_tokens: int,
    ) -> None:
        self.canvas, self.padding = source.canvas, source.padding
        self.parts = _parts(source, content, chat, root)
        self.features: dict[str, Features] = {}
        chosen, learnt, lengths, images = [], [], [], []
        for number, part in enumerate(self.parts.values()):
            length = part.index.lengths() + part.index.images() * (visual_tokens - 1)
            rows = _taken(len(part.index), part.files.weight, [source.seed, number])
            rows = rows[_usable(part, length, max_length, visual_tokens)[rows]]
            chosen.append(rows)
            learnt.append(part.index.learnt[rows].astype(np.int64))
            lengths.append(length[rows])
            images.append(part.index.images()[rows])
        self._ends = np.cumsum([len(rows) for rows in chosen])
        self._rows = np.concatenate(chosen)
        self.learnt: npt.NDArray[np.int64] = np.concatenate(learnt)
        """How many tokens are learnt from in each sample, (n,)."""
        self.lengths: npt.NDArray[np.int64] = np.concatenate(lengths)
        """How many tokens each sample has for the language model, (n,)."""
        self.has_image: npt.NDArray[np.bool_] = np.concatenate(images) > 0
        """Whether a sample has an image, (n,)."""
        if len(self) == 0:
            raise UserError(f"{', '.join(self.parts)}: no row is left to learn from")
        for part in self.parts.values():
            if part.budget.bad:
                _tell(part)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, sample: int) -> Sample:
        name, part, row = self._place(sample)
        tokens = part.index.tokens(row)
        images: list[Picture]
        if name in self.features:
            images = [self.features[name][image] for image in part.index.image_numbers(row)]
        else:
            images = [*self._images(part, row)]
        return Sample(tokens.ids, tokens.learn, images)

    def images(self, part: Part) -> Iterator[Pixels]:
        """Every image of a source (3,H,W), in the order of its index; UserError for a bad one."""
        for row in range(len(part.index)):
            yield from self._images(part, row)

    def _images(self, part: Part, row: int) -> list[Pixels]:
        try:
            return [
                read_image(self._file(part, file), self.canvas, self.padding)
                for file in part.index.files(row)
            ]
        except UserError as error:
            raise UserError(f"{_where(part, row)}: {error}") from None

    def readable(self, sample: int) -> tuple[Sample, list[BadImage]]:
        """The sample, or where its image cannot be read the next one that can, and what was bad.

        So what stands in for a bad sample follows from the data alone. Where the source allows no
        bad row, the first is a `UserError`.
        """
        bad: list[BadImage] = []
        for other in range(sample, sample + len(self)):
            try:
                return self[other % len(self)], bad
            except UserError as error:
                name, part, row = self._place(other % len(self))
                if part.budget.allowed == 0:
                    raise
                bad.append(BadImage(name, int(part.index.numbers[row]), str(error)))
        raise UserError(f"no image can be read; the first: {bad[0].reason}")

    def _place(self, sample: int) -> tuple[str, Part, int]:
        """The source the sample is from, and its row there."""
        number = int(np.searchsorted(self._ends, sample, side="right"))
        name, part = list(self.parts.items())[number]
        return name, part, int(self._rows[sample])

    @staticmethod
    def _file(part: Part, file: str | bytes) -> Path | bytes:
        if isinstance(file, bytes):
            return file
        return (part.files.images or Path()) / file


def _parts(
    source: DataSource, content: Mapping[str, Any], chat: Chat, root: Path
) -> dict[str, Part]:
    """The sources of files by name, made ready; a world is drawn, and is one."""
    if isinstance(source, WorldData):
        folder = prepare(source, root)
        drawn = Files(conversations=folder / "conversations.jsonl", images=folder)
        return {source.name: indexed(source.name, drawn, content, chat, root)}
    return {
        # Not the weight: a share of a source is taken from the same index as the whole.
        name: indexed(name, files, [part["conversations"], part["images"]], chat, root)
        for (name, files), part in zip(source.parts.items(), content["parts"], strict=True)
    }


def _taken(rows: int, weight: float, seed: list[int]) -> npt.NDArray[np.int64]:
    """Every row as often as the weight has ones, and of the rest the share it has, ascending."""
    whole = int(weight)
    more = np.random.default_rng(seed).permutation(rows)[: round((weight - whole) * rows)]
    return np.sort(np.concatenate([np.tile(np.arange(rows), whole), more]))


def _usable(
    part: Part, lengths: npt.NDArray[np.int64], max_length: int, visual_tokens: int
) -> npt.NDArray[np.bool_]:
    """Which rows of the index can be learnt from, (n,); the others are spent from the budget."""
    long = lengths > max_length
    mute = part.index.learnt == 0
    reasons = [
        f"{_where(part, row)}: {lengths[row]} tokens, {visual_tokens} for each image, but only "
        f"{max_length} fit (max_length of the stage, context of the language model)"
        for row in np.flatnonzero(long)[:1]
    ]
    reasons += [
        f"{_where(part, row)}: the assistant says nothing to learn from"
        for row in np.flatnonzero(mute)[:1]
    ]
    usable: npt.NDArray[np.bool_] = ~(long | mute)
    part.budget.spend(int((~usable).sum()), reasons)
    return usable


def _where(part: Part, row: int) -> str:
    where = part.rows.where(int(part.index.numbers[row]))
    return identified(where, part.index.identity(row))


def _tell(part: Part) -> None:
    budget = part.budget
    said = f"{budget.source}: {budget.bad:,} bad rows of {part.index.report['rows']:,} passed over"
    print("\n  ".join([f"{said}, such as", *budget.reasons]), file=sys.stderr)
