"""How sure a score is: bootstrap intervals over images, for one candidate and between two.

Questions on one image are not independent, so whole images are drawn with replacement (a cluster
bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). Every
metric here is a ratio of sums over questions, sum(weight * score) / sum(weight): a mean with
weights of one, and F1 with a weight of 2 for a true positive (score 1), 1 for a false positive or
false negative (score 0) and 0 for a true negative, since F1 = 2TP / (2TP + FP + FN). A draw thus
recomputes each task's metric exactly, from sums per image, with two matrix products (MME's, whose
categories weigh the same, with the weights of the whole set).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablate.errors import UserError

DRAWS = 10_000
"""Resamples behind an interval: its ends move by about 0.03 standard errors with the seed."""
FEWEST, WORK = 1_000, 2**27
"""Where there are more images than `WORK / DRAWS` (the published benchmarks have 85,000 and more),
an interval has only as many resamples as make `WORK` images, at least `FEWEST`: its ends then move
by up to 0.1 standard errors.
"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that covers the truth with probability `level`."""

    estimate: float
    low: float
    high: float
    level: float = 0.95

    @property
    def tie(self) -> bool:
        """Whether zero lies inside: as a difference, it does not tell the two candidates apart."""
        return self.low <= 0.0 <= self.high


def bootstrap(
    scores: ArrayLike,
    groups: Sequence[Any] | NDArray[Any],
    tasks: Sequence[Any] | NDArray[Any],
    draws: int = DRAWS,
    seed: int = 0,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """The composite (mean over tasks of each task's metric) and its percentile interval.

    `scores`, `groups` (the image), `tasks`, `weights` (default 1): one entry a question. In the
    unit of `scores`: 0..1 for the rows of `answers.jsonl`.
    """
    table = _Table(groups, tasks, [(scores, weights)])
    return table.interval(lambda values: values[0], draws, seed, level)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[Any] | NDArray[Any],
    tasks: Sequence[Any] | NDArray[Any],
    draws: int = DRAWS,
    seed: int = 0,
    *,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = 0.95,
) -> Interval:
    """The difference of two composites, `a` minus `b`, on the same questions in the same order.

    Each draw takes the same images for both, so what is hard for both cancels. `weights`: those
    of `a` and of `b` (default 1 each); the rest is as in `bootstrap`.
    """
    of_a, of_b = weights or (None, None)
    table = _Table(groups, tasks, [(a, of_a), (b, of_b)])
    return table.interval(lambda values: values[0] - values[1], draws, seed, level)


def compare(
    a: Sequence[Mapping[str, Any]],
    b: Sequence[Mapping[str, Any]],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The difference in points (0..100) of two candidates by their rows of `answers.jsonl`.

    Raises `UserError` where they did not answer the same questions about the same images.
    """
    by_question = [{(row["task"], row["id"], row["image"]): row for row in rows} for rows in (a, b)]
    if by_question[0].keys() != by_question[1].keys():
        apart = sorted(by_question[0].keys() ^ by_question[1].keys())
        raise UserError(
            f"two candidates answered different questions, so cannot be compared: {len(apart)} "
            f"were answered by one only, the first of them {apart[0][0]} {apart[0][1]}"
        )
    keys = sorted(by_question[0])
    rows_a, rows_b = ([rows[key] for key in keys] for rows in by_question)
    return paired_bootstrap(
        100.0 * _column(rows_a, "score"),
        100.0 * _column(rows_b, "score"),
        [row["image"] for row in rows_a],
        [row["task"] for row in rows_a],
        draws,
        seed,
        weights=(_column(rows_a, "weight"), _column(rows_b, "weight")),
        level=level,
    )


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Floats:
    return np.array([row[name] for row in rows], dtype=np.float64)


class _Table:
    """Per image and task: how many questions, and for each candidate the two sums of its ratio."""

    def __init__(
        self,
        groups: Sequence[Any] | NDArray[Any],
        tasks: Sequence[Any] | NDArray[Any],
        candidates: Sequence[tuple[ArrayLike, ArrayLike | None]],
    ) -> None:
        names, image = np.unique(np.asarray(groups), return_inverse=True)
        kinds, task = np.unique(np.asarray(tasks), return_inverse=True)
        if not len(image):
            raise ValueError("no questions to resample")
        self.images, self.tasks = len(names), len(kinds)
        cell = image * self.tasks + task

        def sums(values: Floats) -> Floats:
            flat = np.bincount(cell, values, minlength=self.images * self.tasks)
            return flat.reshape(self.images, self.tasks).astype(np.float64)

        one = np.ones(len(cell))
        self.count = sums(one)
        self.ratios: list[tuple[Floats, Floats]] = []
        for scores, given in candidates:
            weight = one if given is None else np.asarray(given, dtype=np.float64)
            score = np.asarray(scores, dtype=np.float64)
            if not len(score) == len(weight) == len(cell):
                raise ValueError("scores, weights, groups and tasks differ in length")
            self.ratios.append((sums(weight * score), sums(weight)))

    def composites(self, times: Floats) -> list[Floats]:
        """Each candidate's composite when image i is taken `times[draw, i]` times.

        A task of which a draw holds no question is left out of that draw's mean; one whose
        weights sum to zero (F1 without a single positive) counts as zero.
        """
        present = (times @ self.count) > 0
        values = []
        for numerator, denominator in self.ratios:
            over, under = times @ numerator, times @ denominator
            metric = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
            values.append((metric * present).sum(1) / present.sum(1))
        return values

    def interval(
        self, statistic: Callable[[list[Floats]], Floats], draws: int, seed: int, level: float
    ) -> Interval:
        """The statistic of the composites on the data as it is, and over `draws` resamples."""
        estimate = float(statistic(self.composites(np.ones((1, self.images))))[0])
        draws = min(draws, max(FEWEST, WORK // self.images))
        few = draws * self.images <= 2**23  # 64 MiB: kept for the next comparison of this study
        resamples = (_kept_resamples if few else _resamples)(self.images, draws, seed)
        drawn = [statistic(self.composites(times)) for times in resamples]
        tail = (1.0 - level) / 2.0
        low, high = np.quantile(np.concatenate(drawn), [tail, 1.0 - tail])
        return Interval(estimate, float(low), float(high), level)


def _resamples(images: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn, (some draws, images) at a time to bound memory."""
    rng = np.random.default_rng(seed)
    block = max(1, 2**21 // images)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picks = rng.integers(images, size=(rows, images))
        picks += np.arange(rows)[:, None] * images
        times = np.bincount(picks.ravel(), minlength=rows * images)
        yield times.reshape(rows, images).astype(np.float64)


@lru_cache(maxsize=2)
def _kept_resamples(images: int, draws: int, seed: int) -> tuple[Floats, ...]:
    return tuple(_resamples(images, draws, seed))
