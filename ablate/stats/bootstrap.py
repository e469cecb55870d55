"""How sure a score is, and a difference of two: bootstrap over images, for many candidates at once.

Questions on one image are not independent, so whole images are drawn with replacement (a cluster
bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). Every
metric here is a ratio of sums over questions, sum(weight * score) / sum(weight): a mean with
weights of one, and F1 with a weight of 2 for a true positive (score 1), 1 for a false positive or
false negative (score 0) and 0 for a true negative, since F1 = 2TP / (2TP + FP + FN). A draw thus
recomputes each task's metric exactly, from sums per image, with two matrix products (MME's, whose
categories weigh the same, with the weights of the whole set). All candidates share the draws, so
what is hard for two of them cancels in their difference.

What such draws say of scores and differences is in `draws`.

Shapes: D draws, C candidates, R training runs (one or several a candidate), I images.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablate.errors import UserError
from ablate.stats.draws import SEED, Chosen, Contrast, Draws
from ablate.stats.intervals import Floats, Interval
from ablate.stats.noise import Noise, ratio

DRAWS = 10_000
"""Resamples behind an interval: its ends move by about 0.03 standard errors with the seed."""
FEWEST, WORK = 1_000, 2**26
"""Where there are many images (the published benchmarks have 85,000 and more) or candidates, there
are only as many resamples as make `WORK` images and metrics, or `KEPT` composites, at least
`FEWEST`: the ends then move by up to 0.1 standard errors. More composites than `KEPT` are not kept.
"""
KEPT = 2**21
BLOCK = 2**21
"""Images and metrics of the draws that are made at once, to bound memory; of composites that are
not kept a quarter."""

Ints = NDArray[np.intp]
Names = Sequence[Any] | NDArray[Any]
Scored = ArrayLike | tuple[ArrayLike, ArrayLike]
"""One candidate: its scores in 0..1, an entry a question, or (runs, questions); and its weights."""


def paired_bootstrap(
    a: Scored,
    b: Scored,
    groups: Names,
    tasks: Names,
    draws: int = DRAWS,
    floors: Sequence[Noise] = (),
) -> Interval:
    """The difference of two composites, `a` minus `b`, on the same questions in the same order.

    A composite is the mean over tasks of each task's metric. `groups` (the image) and `tasks`: one
    entry a question.
    """
    drawn = Sample(groups, tasks, [a, b]).draw(draws=draws, floors=floors)
    return drawn.differences([0], [1]).interval(0)


Rows = Sequence[Mapping[str, Any]]


def compare(
    a: Sequence[Rows], b: Sequence[Rows], draws: int = DRAWS, floors: Sequence[Noise] = ()
) -> Interval:
    """The difference of two candidates by their rows of `answers.jsonl`, those of each run.

    `floors`: training noise as other runs have it. Raises `UserError` where they did not answer the
    same questions about the same images.
    """
    return sample_of([a, b]).draw(draws, floors=floors).differences([0], [1]).interval(0)


def sample_of(candidates: Sequence[Sequence[Rows]]) -> "Sample":
    """Candidates by their rows of `answers.jsonl`, those of each run.

    Raises `UserError` where they did not answer the same questions about the same images.
    """
    every = [rows for runs in candidates for rows in runs]
    runs = [{(row["task"], row["id"], row["image"]): row for row in rows} for rows in every]
    keys = sorted(runs[0])
    for run in runs:
        if apart := sorted(run.keys() ^ runs[0].keys()):
            raise UserError(
                f"two candidates answered different questions, so cannot be compared: {len(apart)} "
                f"were answered by one only, the first of them {apart[0][0]} {apart[0][1]}"
            )
    scores, weights = (
        np.array([[run[key][name] for key in keys] for run in runs], dtype=np.float64)
        for name in ("score", "weight")
    )
    ends = np.cumsum([len(runs) for runs in candidates])[:-1]
    parts = zip(np.split(scores, ends), np.split(weights, ends), strict=True)
    return Sample([image for _, _, image in keys], [task for task, _, _ in keys], list(parts))


@dataclass(frozen=True)
class _Part:
    """One task, by image: `images` that have questions of it, (I',); how many questions `count`.

    `top` and `under` (R, I'): the two sums of each run's ratio; `under` (1, I') where all have the
    same weights.
    """

    images: Ints
    count: Floats
    top: Floats
    under: Floats

    @property
    def metric(self) -> Floats:
        """Each run's metric on the questions as they are, (R,), in 0..1."""
        return ratio(self.top.sum(1), self.under.sum(1))

    @property
    def influence(self) -> Floats:
        """How much of the metric hangs on each image: its linear part, (R, I')."""
        total = self.under.sum(1, keepdims=True)
        return ratio(self.top - self.metric[:, None] * self.under, total)


class Sample:
    """Questions and how well each of several candidates answered them."""

    def __init__(self, groups: Names, tasks: Names, candidates: Sequence[Scored]) -> None:
        names, image = np.unique(np.asarray(groups), return_inverse=True)
        kinds, task = np.unique(np.asarray(tasks), return_inverse=True)
        if not len(image):
            raise ValueError("no questions to resample")
        given = [
            scored if isinstance(scored, tuple) else (scored, np.ones(1)) for scored in candidates
        ]
        runs = [np.atleast_2d(np.asarray(scores, dtype=np.float64)) for scores, _ in given]
        if any(scores.shape[1] != len(image) for scores in runs) or len(task) != len(image):
            raise ValueError("scores, groups and tasks differ in length")
        self.images, self.tasks = len(names), [kind.item() for kind in kinds]
        self.sizes = np.array([len(scores) for scores in runs])
        score = np.concatenate(runs)
        weight = np.concatenate(
            [
                np.broadcast_to(np.asarray(weights, dtype=np.float64), scores.shape)
                for scores, (_, weights) in zip(runs, given, strict=True)
            ]
        )
        if (weight == weight[:1]).all():
            weight = weight[:1]
        self.parts = [
            _part(image[task == n], (weight * score)[:, task == n], weight[:, task == n])
            for n in range(len(self.tasks))
        ]

    @property
    def width(self) -> int:
        """Images and metrics of one draw."""
        return self.images + len(self.parts) * int(self.sizes.sum())

    def composites(self, times: Floats) -> Floats:
        """Each candidate's composite when image i is taken `times[draw, i]` times: (D, C) points.

        A task of which a draw holds no question is left out of that draw's mean; one whose weights
        sum to zero (F1 without a single positive) counts as zero.
        """
        total, present = np.zeros((len(times), int(self.sizes.sum()))), np.zeros((len(times), 1))
        for part in self.parts:
            taken = times if len(part.images) == times.shape[1] else times[:, part.images]
            scores = taken @ part.top.T
            scores *= ratio(np.ones(1), taken @ part.under.T)
            total += scores
            present += (taken @ part.count > 0)[:, None]
        total /= present  # in place: of many candidates it is most of the memory
        composites = self.means(total)
        composites *= 100.0
        return composites

    def draw(
        self,
        draws: int = DRAWS,
        replicates: "Sample | None" = None,
        floors: Sequence[Noise] = (),
    ) -> Draws:
        """The candidates' composites over resampled images.

        For training noise alone: `replicates`, other candidates on these tasks, several runs each,
        and `floors`, what was measured elsewhere.
        """
        most = min(WORK // self.width, KEPT // len(self.sizes))
        draws = min(draws, max(FEWEST, most))
        few = draws * self.images <= 2**23  # 64 MiB: kept for the next sample of these images
        kept = draws * len(self.sizes) <= KEPT

        def drawn(chosen: Chosen, of: Contrast) -> Floats:
            sample = self.among(chosen)
            block = max(1, (BLOCK if kept else BLOCK // 4) // sample.width)
            resamples = (_kept_resamples if few else _resamples)(self.images, draws, block)
            return np.concatenate([of(sample.composites(times)) for times in resamples])

        here = self.composites(np.ones((1, self.images)))[0]
        return Draws(self, here, drawn, kept, replicates, floors)

    def among(self, chosen: Chosen) -> "Sample":
        """These of the candidates on the same questions."""
        starts, sizes = (np.cumsum(self.sizes) - self.sizes)[chosen], self.sizes[chosen]
        runs = np.concatenate(
            [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        )
        narrowed = copy(self)
        narrowed.sizes = sizes
        narrowed.parts = [
            replace(
                part,
                top=part.top[runs],
                under=part.under[runs] if len(part.under) > 1 else part.under,
            )
            for part in self.parts
        ]
        return narrowed

    def only(self, tasks: Sequence[Any]) -> "Sample":
        """The same candidates on these tasks alone, and on the images that these ask about."""
        chosen = [part for name, part in zip(self.tasks, self.parts, strict=True) if name in tasks]
        images = np.unique(np.concatenate([part.images for part in chosen]))
        narrowed = copy(self)
        narrowed.tasks, narrowed.images = (
            [name for name in self.tasks if name in tasks],
            len(images),
        )
        narrowed.parts = [
            replace(part, images=np.searchsorted(images, part.images)) for part in chosen
        ]
        return narrowed

    def means(self, values: Floats) -> Floats:
        """Of the runs' values (..., R) each candidate's mean (..., C)."""
        if len(self.sizes) == values.shape[-1]:
            return values
        starts = np.cumsum(self.sizes) - self.sizes
        means: Floats = np.add.reduceat(values, starts, axis=-1) / self.sizes
        return means


def _part(image: Ints, top: Floats, under: Floats) -> _Part:
    """The sums by image of one task's questions, which are on `image`."""
    order = np.argsort(image, kind="stable")
    images, starts, count = np.unique(image[order], return_index=True, return_counts=True)
    sums = (np.add.reduceat(values[:, order], starts, axis=1) for values in (top, under))
    return _Part(images, count.astype(np.float64), *sums)


def _resamples(images: int, draws: int, block: int) -> Iterator[Floats]:
    """How often each image is drawn, (some draws, images) at a time: a `block` of draws."""
    rng = np.random.default_rng(SEED)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picks = rng.integers(images, size=(rows, images))
        picks += np.arange(rows)[:, None] * images
        times = np.bincount(picks.ravel(), minlength=rows * images)
        yield times.reshape(rows, images).astype(np.float64)


@lru_cache(maxsize=2)
def _kept_resamples(images: int, draws: int, block: int) -> tuple[Floats, ...]:
    return tuple(_resamples(images, draws, block))
