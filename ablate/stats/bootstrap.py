"""How sure a score is, and a difference of two: bootstrap over images, for many candidates at once.

Questions on one image are not independent, so whole images are drawn with replacement (a cluster
bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). Every
metric here is a ratio of sums over questions, sum(weight * score) / sum(weight): a mean with
weights of one, and F1 with a weight of 2 for a true positive (score 1), 1 for a false positive or
false negative (score 0) and 0 for a true negative, since F1 = 2TP / (2TP + FP + FN). A draw thus
recomputes each task's metric exactly, from sums per image, with two matrix products (MME's, whose
categories weigh the same, with the weights of the whole set). All candidates share the draws, so
what is hard for two of them cancels in their difference.

Draws of few images spread too little, and know nothing of the seed. So each is moved away from the
estimate, by the ratio of two standard errors, both linearised:

- few images: each task's variance is that of a sample, n / (n - 1) times the resampled one;
- training: where candidates have several runs, here or as `replicates` given beside them, the
  variance between runs is added, less the part of it that the choice of questions makes (two
  crossed random effects, images and runs). It is pooled, also with what was measured elsewhere,
  since two or three runs of one tell little; a candidate of several runs has its own, shrunk to
  the pool (see `noise`), one of a single run the pooled.

Student's quantile takes the place of the normal one, with Satterthwaite's degrees of freedom over
the tasks. From draws and standard error to interval and p-value it goes in `intervals`.

Shapes: D draws, C candidates, R training runs (one or several a candidate), I images, K contrasts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ablate.errors import UserError
from ablate.stats.intervals import (
    TINY,
    Bound,
    Bounds,
    Floats,
    exact_bounds,
    expanded,
    student,
    union,
)
from ablate.stats.noise import Noise, of_training, pooled, ratio, squares_within, unbiased

DRAWS = 10_000
"""Resamples behind an interval: its ends move by about 0.03 standard errors with the seed."""
FEWEST, WORK = 1_000, 2**26
"""Where there are many images (the published benchmarks have 85,000 and more) or candidates, there
are only as many resamples as make `WORK` images and metrics, or `KEPT` composites, at least
`FEWEST`: the ends then move by up to 0.1 standard errors.
"""
KEPT = 2**21
SEED = 0
_FEWEST_OF_PAIRS, _BLOCK = 200, 64
"""Draws at least where all pairs of very many candidates are looked at, so many pairs at a time."""

Ints = NDArray[np.intp]
Contrast = Callable[[Floats], Floats]
"""Values of the candidates to those of contrasts of them: (..., C) to (..., K)."""
Added = Callable[[Floats, int], Floats]
"""Sums of what candidates have, each times its share in a contrast to twice this power."""
Names = Sequence[Any] | NDArray[Any]
Scored = ArrayLike | tuple[ArrayLike, ArrayLike]
"""One candidate: its scores in 0..1, an entry a question, or (runs, questions); and its weights."""


@dataclass(frozen=True)
class Interval:
    """An estimate in points and the interval that covers the truth with probability 95 %.

    `error` is its standard error, with `freedom` degrees of freedom; `p` of being zero (two-sided).
    """

    estimate: float
    low: float
    high: float
    p: float = float("nan")
    error: float = float("nan")
    freedom: float = float("inf")

    @property
    def tie(self) -> bool:
        """Whether zero lies inside: as a difference, it does not tell the two candidates apart."""
        return self.low <= 0.0 <= self.high


class Estimates(NamedTuple):
    """The fields of many an `Interval`, as arrays (K)."""

    estimate: Floats
    low: Floats
    high: Floats
    p: Floats
    error: Floats
    freedom: Floats

    def interval(self, k: int) -> Interval:
        """One of them."""
        return Interval(*(float(field[k]) for field in self))


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
        return 100.0 * self.means(total / present)

    def draw(
        self,
        draws: int = DRAWS,
        replicates: "Sample | None" = None,
        floors: Sequence[Noise] = (),
    ) -> "Draws":
        """The candidates' composites over resampled images.

        For training noise alone: `replicates`, other candidates on these tasks, several runs each,
        and `floors`, what was measured elsewhere.
        """
        columns = len(self.parts) * int(self.sizes.sum())
        most = min(WORK // (self.images + columns), KEPT // len(self.sizes))
        draws = min(draws, max(FEWEST, most))
        few = draws * self.images <= 2**23  # 64 MiB: kept for the next sample of these images
        resamples = (_kept_resamples if few else _resamples)(self.images, draws, columns)
        drawn = np.concatenate([self.composites(times) for times in resamples])
        return Draws(self, self.composites(np.ones((1, self.images)))[0], drawn, replicates, floors)

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


class Draws:
    """The candidates' composites on the images as they are, `here` (C), and `drawn` (D, C).

    `noise`: what training them again would change, None where no candidate has a second run.
    """

    def __init__(
        self,
        sample: Sample,
        here: Floats,
        drawn: Floats,
        replicates: Sample | None = None,
        floors: Sequence[Noise] = (),
    ) -> None:
        self.here, self.drawn = here, drawn
        self._images = sample.images
        # What an image's questions of each task add to the composite, in points: (C, I').
        self._moves = [
            (part.images, sample.means(100.0 * part.influence.T / len(sample.parts)).T)
            for part in sample.parts
        ]
        within = [squares_within(each) for each in (sample, replicates) if each is not None]
        self.noise = pooled(within, floors)
        self._runs = of_training(sample.sizes, within[0], self.noise)

    def scores(self) -> Estimates:
        """Each candidate's composite, its interval within 0..100. The `p` says nothing.

        Where training noise is known the interval holds what as many runs with other seeds would
        score: their training and their answers come on top of what is uncertain here.
        """
        return self._estimates(lambda values: values, lambda values, _: values, 0.0, 100.0, True)

    def differences(self, plus: ArrayLike, minus: ArrayLike) -> Estimates:
        """Candidates `plus` less candidates `minus`, pair by pair: indices, (K) each."""
        a, b = np.asarray(plus, dtype=np.intp), np.asarray(minus, dtype=np.intp)
        return self._estimates(
            lambda values: values[..., a] - values[..., b],
            lambda values, _: values[..., a] + values[..., b],
            -100.0,
            100.0,
        )

    def contrasts(self, shares: Floats) -> Estimates:
        """Sums of composites, each times its share: (K, C)."""
        return self._estimates(
            lambda values: values @ shares.T,
            lambda values, power: values @ shares.T ** (2 * power),
            100.0 * shares.clip(max=0.0).sum(1),
            100.0 * shares.clip(min=0.0).sum(1),
        )

    def behind_best(self, among: ArrayLike) -> Floats:
        """Of each of the candidates `among` (indices, K) the p of being as good as the best: (K).

        The best is not known beforehand, so its lead is held against the largest lead that any of
        them would have over any other if all were as good: the studentised range of Tukey, from the
        draws. If so, one of them has a p below 0.05 in at most about 5 % of studies.
        """
        chosen = np.asarray(among, dtype=np.intp)
        best = int(self.here[chosen].argmax())
        a, b = np.triu_indices(len(chosen), 1)
        if not len(a):
            return np.ones(len(chosen))
        pairs = self.differences(chosen[a], chosen[b])
        count = min(len(self.drawn), max(_FEWEST_OF_PAIRS, WORK // len(a)))
        apart = (self.drawn[:count, chosen] - self.here[chosen]) * unbiased(self._images)
        luck = np.random.default_rng(SEED).standard_normal(apart.shape)
        apart = apart + luck * np.sqrt(self._runs.variance[chosen])
        largest = np.zeros(count)
        for start in range(0, len(a), _BLOCK):
            block = slice(start, start + _BLOCK)
            moved = abs(apart[:, a[block]] - apart[:, b[block]])
            np.maximum(largest, (ratio(moved, pairs.error[block])).max(1), out=largest)
        corrected = np.ones(len(chosen))
        to_best = (a == best) | (b == best)
        p = pairs.p[to_best]
        lead = -ndtri(p / 2)  # in errors as if they were known: few images make tails heavier
        beyond = ((largest[:, None] >= lead - TINY).sum(0) + 1) / (count + 1)
        others = np.where(a == best, b, a)[to_best]
        corrected[others] = np.maximum(p, np.minimum(beyond, p * len(a)).clip(max=1.0))
        return corrected

    def _estimates(
        self, of: Contrast, added: Added, least: Bound, most: Bound, again: bool = False
    ) -> Estimates:
        """Contrasts `of` the candidates' values, and the sums of independent variances `added`.

        `again`: for the same of other runs.

        `least` and `most`, one for all or (K): what a contrast can be at all, and its interval.
        """
        estimate = of(self.here)
        resampled, error, freedom = self._errors(of, added, again)
        drawn = estimate + ratio(error, resampled) * (of(self.drawn) - estimate)
        bounds = union([student(estimate, error, freedom), expanded(drawn, freedom)])
        flat = resampled < TINY  # no image says anything else than the others
        if flat.any():
            known = union([bounds, exact_bounds(estimate, self._images, least, most)])
            bounds = Bounds(*np.where(flat, known, bounds))
        low, high = np.maximum(bounds.low, least), np.minimum(bounds.high, most)
        return Estimates(estimate, low, high, bounds.p, error, freedom)

    def _errors(self, of: Contrast, added: Added, again: bool) -> tuple[Floats, Floats, Floats]:
        """Of each contrast the error that the draws have, the whole one, its degrees of freedom."""
        runs = self._runs
        seeds, crude = added(runs.variance, 1), added(runs.crude, 1)
        shared, unshared = runs.crude * runs.shared, runs.crude * ~runs.shared
        parts = added(unshared**2 / runs.freedom, 2)
        parts += added(shared, 1) * added(shared / runs.freedom, 1)  # one estimate for all of them
        of_runs = np.where(crude > 0.0, ratio(crude**2, parts).clip(min=1.0), np.inf)
        if again:
            seeds, crude = seeds + crude, 2.0 * crude
        resampled, whole = (np.zeros((len(seeds), self._images)) for _ in range(2))
        total, square = np.zeros(len(seeds)), np.zeros(len(seeds))
        for images, moves in self._moves:
            moved = of(moves.T).T
            resampled[:, images] += moved
            moved = moved * unbiased(len(images))
            whole[:, images] += moved
            task = (moved**2).sum(1)
            total += task
            square += task**2 / max(len(images) - 1, 1)
        freedom = np.where(square > 0.0, ratio(total**2, square), np.inf).clip(
            1, max(self._images - 1, 1)
        )
        variance = (whole**2).sum(1)
        parts = variance**2 / freedom + crude**2 / of_runs
        variance += seeds
        least = np.minimum(freedom, of_runs)
        freedom = np.maximum(ratio(variance**2, parts), least)
        return np.sqrt((resampled**2).sum(1)), np.sqrt(variance), freedom


def _part(image: Ints, top: Floats, under: Floats) -> _Part:
    """The sums by image of one task's questions, which are on `image`."""
    order = np.argsort(image, kind="stable")
    images, starts, count = np.unique(image[order], return_index=True, return_counts=True)
    sums = (np.add.reduceat(values[:, order], starts, axis=1) for values in (top, under))
    return _Part(images, count.astype(np.float64), *sums)


def _resamples(images: int, draws: int, columns: int) -> Iterator[Floats]:
    """How often each image is drawn, (some draws, images) at a time to bound memory."""
    rng = np.random.default_rng(SEED)
    block = max(1, 2**21 // (images + columns))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picks = rng.integers(images, size=(rows, images))
        picks += np.arange(rows)[:, None] * images
        times = np.bincount(picks.ravel(), minlength=rows * images)
        yield times.reshape(rows, images).astype(np.float64)


@lru_cache(maxsize=2)
def _kept_resamples(images: int, draws: int, columns: int) -> tuple[Floats, ...]:
    return tuple(_resamples(images, draws, columns))
