"""Samples to batches, and the batches of each optimiser step.

Shapes: B batch, T tokens, I images in the batch, V views of them, H W pixels, S pixels of a view's
side, F values of an image's features.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ablate.data.batch import IGNORE_INDEX, Batch
from ablate.data.chat import Tokens, apart
from ablate.data.dataset import BadImage, Conversations, Picture, Pixels, Sample
from ablate.data.sampler import Order, cut_evenly
from ablate.data.tiles import Tiles
from ablate.errors import UserError


def collate(samples: Sequence[Sample]) -> Batch:
    """The samples as one batch, padded on the right to the longest; a pair as two rows of it.

    Raises `UserError` where the images differ in size.
    """
    samples = [
        sample._replace(ids=tokens.ids, learn=tokens.learn)
        for sample in samples
        for tokens in apart(Tokens(sample.ids, sample.learn))
    ]
    ids, real = _padded([sample.ids for sample in samples])
    learn = np.zeros(real.shape, dtype=bool)
    learn[real] = np.concatenate([sample.learn for sample in samples])
    counts = np.array([len(sample.images) for sample in samples])
    sizes = [size for sample in samples for size in sample.sizes]
    images = [image for sample in samples for image in sample.images]
    return Batch(
        pixels=join_views(images) if sizes else stack_images(images),
        sizes=torch.tensor(sizes) if sizes else None,
        image_rows=torch.from_numpy(np.repeat(np.arange(len(samples)), counts)),
        input_ids=torch.from_numpy(ids),
        labels=torch.from_numpy(np.where(learn, ids, IGNORE_INDEX)),
        attention_mask=torch.from_numpy(real),
    )


def collate_prompts(prompts: Sequence[npt.NDArray[np.int32]], images: Sequence[int]) -> Batch:
    """Prompts (T,), of so many images each, as a batch without these, padded on the right."""
    ids, real = _padded(prompts)
    return Batch(
        pixels=stack_images([]),
        image_rows=torch.from_numpy(np.repeat(np.arange(len(images)), images)),
        input_ids=torch.from_numpy(ids),
        labels=torch.full(ids.shape, IGNORE_INDEX),
        attention_mask=torch.from_numpy(real),
    )


def _padded(
    texts: Sequence[npt.NDArray[np.int32]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(B,T) texts (T,), padded on the right, and where they are real tokens."""
    lengths = np.array([len(text) for text in texts])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(real.shape, dtype=np.int64)
    ids[real] = np.concatenate(texts)
    return ids, real


def stack_images(images: Sequence[Picture]) -> Tensor:
    """Images of (3,H,W) as (I,3,H,W), features (F,) as (I,F); (0,3,1,1) where there are none.

    Raises `UserError` where they differ in size.
    """
    if not images:
        return torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
    sizes = sorted({image.shape[1:] for image in images})
    if len(sizes) > 1:
        (h, w), (other_h, other_w) = sizes[:2]
        raise UserError(
            f"images of {w}x{h} and {other_w}x{other_h} pixels in one batch; give the data source "
            "a canvas (pixels a side) to bring them to one size"
        )
    return torch.from_numpy(np.stack(images))


def join_views(images: Sequence[Picture]) -> Tensor:
    """The views (V,3,S,S) of each image, or their features (V,F), as those of all."""
    return torch.from_numpy(np.concatenate(images))


def cut_images(images: Sequence[Pixels], tiles: Tiles) -> tuple[Tensor, Tensor | None]:
    """What a batch has of images (3,H,W) as its `pixels` and its `sizes`."""
    if not (tiles.cuts and images):
        return stack_images(images), None
    sizes = [(image.shape[2], image.shape[1]) for image in images]
    return join_views([tiles.views(image) for image in images]), torch.tensor(sizes)


TOGETHER = 32
"""Images seen at a time, where nothing is learnt from them."""


def image_batches(images: Iterable[Picture]) -> Iterator[Tensor]:
    """Images (3,H,W) in their order, (I,3,H,W) each: as many together as there are of one size, at
    most `TOGETHER`."""
    batch: list[Picture] = []
    for image in images:
        if batch and (len(batch) == TOGETHER or image.shape != batch[0].shape):
            yield stack_images(batch)
            batch = []
        batch.append(image)
    if batch:
        yield stack_images(batch)


class MicroBatch(NamedTuple):
    """A part of an optimiser step's batch, and its share of what is learnt in that step.

    `bad`: the samples that others stand in for, as their images cannot be read.
    """

    batch: Batch
    share: float
    bad: tuple[BadImage, ...] = ()


class MicroBatches(Dataset[MicroBatch]):
    """The micro-batches of all optimiser steps, numbered through: `parts` of them are one step.

    Of a step's batch each of `ranks` processes has its share, cut so that no micro-batch is larger
    than `micro_batch_size`; this one is number `rank`. Where samples are `packed`, without padding,
    that is as many samples of the longest, and all micro-batches have about as many tokens as each
    other. The mean losses of a step's micro-batches in
    all ranks, each times its `share`, add up to the mean of the whole batch, however it is cut; a
    mean over samples, in which each counts as much as `weigh` gives for the numbers of tokens
    learnt in them, (n,) to (n,). A rank for which no sample is left looks at the step's first, with
    share 0.
    """

    def __init__(
        self,
        data: Conversations,
        order: Order,
        micro_batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        *,
        packed: bool = False,
        weigh: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]],
    ) -> None:
        self.data = data
        self.order = order
        self.rank, self.ranks = rank, ranks
        self.packed = packed
        self.weigh = weigh
        self.parts = ceil(ceil(order.batch_size / ranks) / micro_batch_size)

    def __getitem__(self, number: int) -> MicroBatch:
        step, part = divmod(number, self.parts)
        rows = self.order.batch(step)
        mine = self._pieces(rows)[part * self.ranks + self.rank].tolist()
        read = [self.data.readable(row) for row in mine or rows[:1].tolist()]
        samples = [sample for sample, _ in read]
        # Not `learnt[mine]`: what stands in for a bad sample has tokens of its own.
        learnt = np.array([sample.learn.sum() for sample in samples])
        share = self._weight(learnt) / self._weight(self.data.learnt[rows]) if mine else 0.0
        return MicroBatch(collate(samples), share, tuple(bad for _, more in read for bad in more))

    def _pieces(self, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """A step's samples cut up; side by side in the ranks is what is of similar length."""
        number = self.parts * self.ranks
        if self.packed:
            return [rows[numbers] for numbers in cut_evenly(self.data.lengths[rows], number)]
        return np.array_split(rows, number)  # similar, where the order sorts by length

    def _weight(self, learnt: npt.NDArray[np.int64]) -> float:
        return float(self.weigh(learnt).sum())
