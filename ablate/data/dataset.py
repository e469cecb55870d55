"""The conversations a stage learns from: rows of one or several sources, and their images.

Shapes: B batch, T tokens, I images in the batch, H W pixels, F values of an image's features.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ablate.catalog.data_sources import DataSource, WorldData
from ablate.data.bad import identified
from ablate.data.chat import Chat
from ablate.data.features import Features
from ablate.data.images import read_image
from ablate.data.maps import Maps
from ablate.data.notes import Notes, image_name
from ablate.data.prepare import Part, files_of, image_file, indexed
from ablate.data.sizes import image_sizes
from ablate.data.tiles import Sizes, Tiles
from ablate.errors import UserError
from fusion_zoo.tilings import Size

Pixels = npt.NDArray[np.uint8]
Picture = Pixels | npt.NDArray[np.float32]


class Sample(NamedTuple):
    """One conversation, or a pair that is `joined`: `ids` (T,) int32, `learn` (T,) bool, `images`
    (3,H,W) uint8 each, or the features (F,) float32 of each.

    Where a tiling cuts them, the views (V,3,S,S) of each, or the features (V,F) of these, and in
    `sizes` width and height of each before.
    """

    ids: npt.NDArray[np.int32]
    learn: npt.NDArray[np.bool_]
    images: list[Picture]
    sizes: Sequence[Size] = ()


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
    as many as `tiles` makes of it) or without anything to learn are bad rows as those are that
    cannot be read: `UserError` (file and row) beyond what the source allows. Nothing of the data is
    held in memory but four numbers a sample, and two an image where `tiles` cuts them: such images
    keep their size and shape, whatever `canvas` the source has. `features`: of a source, by name,
    to be given in place of its pixels. `notes`: what stands behind each image; `maps`: what was
    drawn of each, whose channels lie behind its colours.
    """

    def __init__(
        self,
        source: DataSource,
        content: Mapping[str, Any],
        chat: Chat,
        root: Path,
        *,
        max_length: int,
        tiles: Tiles,
        notes: Notes | None = None,
        maps: Maps | None = None,
    ) -> None:
        self.tiles, self.maps = tiles, maps
        self.canvas, self.padding = None if tiles.cuts else source.canvas, source.padding
        self.parts = _parts(source, content, chat, root, notes)
        self.sizes: dict[str, Sizes] = {}
        """Of the images of each source that are cut, in the order of its index."""
        if tiles.cuts:
            self.sizes = {name: _sizes(part, root, tiles) for name, part in self.parts.items()}
        self.features: dict[str, Features] = {}
        chosen, learnt, lengths, images, seen = [], [], [], [], []
        for number, (name, part) in enumerate(self.parts.items()):
            visual = self._visual(name, part)
            length = part.index.longest() if chat.pairs else part.index.lengths()
            length = length - part.index.images() + visual
            rows = _taken(len(part.index), part.files.weight, [source.seed, number])
            rows = rows[_usable(part, length, visual, max_length)[rows]]
            chosen.append(rows)
            learnt.append(part.index.learnt[rows].astype(np.int64))
            lengths.append(length[rows])
            images.append(part.index.images()[rows])
            seen.append(visual[rows])
        self._ends = np.cumsum([len(rows) for rows in chosen])
        self._rows = np.concatenate(chosen)
        self.learnt: npt.NDArray[np.int64] = np.concatenate(learnt)
        """How many tokens are learnt from in each sample, (n,)."""
        self.lengths: npt.NDArray[np.int64] = np.concatenate(lengths)
        """How many tokens each sample has for the language model, (n,)."""
        self.has_image: npt.NDArray[np.bool_] = np.concatenate(images) > 0
        """Whether a sample has an image, (n,)."""
        shown = sum(int(flags.sum()) for flags in images)
        self.visual_tokens: float = (
            sum(int(flags.sum()) for flags in seen) / shown if shown else float(tiles.most)
        )
        """How many tokens an image becomes, in the mean of all samples."""
        if len(self) == 0:
            raise UserError(f"{', '.join(self.parts)}: no row is left to learn from")
        for part in self.parts.values():
            if part.budget.bad:
                _tell(part)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def views(self) -> float:
        """How many views an image is cut into, in the mean of all there are."""
        counts = [self.tiles.num_views(sizes) for sizes in self.sizes.values()]
        return float(np.concatenate(counts).mean()) if sum(map(len, counts)) else 1.0

    def __getitem__(self, sample: int) -> Sample:
        name, part, row = self._locate(sample)
        tokens = part.index.tokens(row)
        numbers = part.index.image_numbers(row)
        if name in self.features:
            features: list[Picture] = [self.features[name][image] for image in numbers]
            cut = self.sizes[name][numbers].tolist() if self.tiles.cuts else []
            return Sample(tokens.ids, tokens.learn, features, [(w, h) for w, h in cut])
        images = self._images(part, row)
        if not self.tiles.cuts:
            return Sample(tokens.ids, tokens.learn, [*images])
        sizes = [(image.shape[2], image.shape[1]) for image in images]
        return Sample(tokens.ids, tokens.learn, [*map(self.tiles.views, images)], sizes)

    def _visual(self, name: str, part: Part) -> npt.NDArray[np.int64]:
        """How many tokens the images of each row of a source become, (n,)."""
        images = part.index.images()
        if name not in self.sizes:
            return images * self.tiles.most
        until = np.concatenate([[0], np.cumsum(self.tiles.counts(self.sizes[name]))])
        last = np.cumsum(images)
        count: npt.NDArray[np.int64] = until[last] - until[last - images]
        return count

    def seen(self, part: Part) -> Iterator[Pixels]:
        """Every view (3,H,W) of every image of a source, in the order of its index; UserError for
        a bad one."""
        for row in range(len(part.index)):
            for image in self._images(part, row):
                yield from self.tiles.views(image) if self.tiles.cuts else [image]

    def _images(self, part: Part, row: int) -> list[Pixels]:
        try:
            return [self._image(part, file) for file in part.index.files(row)]
        except UserError as error:
            raise UserError(f"{_where(part, row)}: {error}") from None

    def _image(self, part: Part, file: str | bytes) -> Pixels:
        pixels = read_image(image_file(part, file), self.canvas, self.padding)
        if self.maps is None:
            return pixels
        return self.maps.behind(pixels, part.budget.source, image_name(file))

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
                name, part, row = self._locate(other % len(self))
                if part.budget.allowed == 0:
                    raise
                bad.append(BadImage(name, int(part.index.numbers[row]), str(error)))
        raise UserError(f"no image can be read; the first: {bad[0].reason}")

    def _locate(self, sample: int) -> tuple[str, Part, int]:
        """The source the sample is from, and its row there."""
        number = int(np.searchsorted(self._ends, sample, side="right"))
        name, part = list(self.parts.items())[number]
        return name, part, int(self._rows[sample])


def _parts(
    source: DataSource,
    content: Mapping[str, Any],
    chat: Chat,
    root: Path,
    notes: Notes | None,
) -> dict[str, Part]:
    """The sources of files by name, made ready; a world is drawn, and is one."""
    sources = files_of(source, root)
    if isinstance(source, WorldData):
        [drawn] = sources.values()
        return {source.name: indexed(source.name, drawn, content, chat, root, notes)}
    return {
        # Not the weight: a share of a source is taken from the same index as the whole.
        name: indexed(name, files, [part["conversations"], part["images"]], chat, root, notes)
        for (name, files), part in zip(sources.items(), content["parts"], strict=True)
    }


def _sizes(part: Part, root: Path, tiles: Tiles) -> Sizes:
    """Width and height of each image of a source; of no account where all are cut alike."""
    if tiles.tiling.fixed:
        return np.ones((part.index.num_images, 2), dtype=np.int64)
    return image_sizes(part, root)


def _taken(rows: int, weight: float, seed: list[int]) -> npt.NDArray[np.int64]:
    """Every row as often as the weight has ones, and of the rest the share it has, ascending."""
    whole = int(weight)
    more = np.random.default_rng(seed).permutation(rows)[: round((weight - whole) * rows)]
    return np.sort(np.concatenate([np.tile(np.arange(rows), whole), more]))


def _usable(
    part: Part,
    lengths: npt.NDArray[np.int64],
    visual: npt.NDArray[np.int64],
    max_length: int,
) -> npt.NDArray[np.bool_]:
    """Which rows of the index can be learnt from, (n,); the others are spent from the budget."""
    long = lengths > max_length
    mute = part.index.learnt == 0
    reasons = [
        f"{_where(part, row)}: {lengths[row]} tokens, {visual[row]} for images, but only "
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
    summary = (
        f"{budget.source}: {budget.bad:,} bad rows of {part.index.report['rows']:,} passed over"
    )
    print("\n  ".join([f"{summary}, such as", *budget.reasons]), file=sys.stderr)
