"""What resampled composites say of candidates: scores, differences, contrasts, and who is best.

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

Shapes: D draws, C candidates, I images, K contrasts.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ablate.stats.intervals import (
    TINY,
    Bound,
    Bounds,
    Estimates,
    Floats,
    exact_bounds,
    expanded,
    student,
    union,
)
from ablate.stats.noise import Noise, of_training, pooled, ratio, squares_within, unbiased

if TYPE_CHECKING:
    from ablate.stats.bootstrap import Sample

SEED = 0
WORK, FEWEST, BLOCK = 2**26, 200, 64
"""All pairs of many candidates are looked at in as many draws as make `WORK` with them, so many
pairs at a time; not at all where these would be fewer than `FEWEST` (over 819 candidates)."""
SIDE_BY_SIDE = 1024
"""Scores or differences that are made at once, which bounds memory."""

Indices = NDArray[np.intp]
Chosen = Indices | slice
Contrast = Callable[[Floats], Floats]
"""Values of the candidates to those of contrasts of them: (..., C) to (..., K)."""
Added = Callable[[Floats, int], Floats]
"""Sums of what candidates have, each times its share in a contrast to twice this power."""


def _same(values: Floats) -> Floats:
    return values


class Draws:
    """The candidates' composites on the images as they are, `here` (C), and `drawn` (D, C).

    `draw` makes contrasts of the latter's columns. `kept`: it is asked once for all columns; those
    of very many candidates would fill the memory, and are made anew wherever they are needed.
    `noise`: what training them again would change, None where no candidate has a second run.
    """

    def __init__(
        self,
        sample: "Sample",
        here: Floats,
        draw: Callable[[Chosen, Contrast], Floats],
        kept: bool,
        replicates: "Sample | None" = None,
        floors: Sequence[Noise] = (),
    ) -> None:
        self.here, self._draw = here, draw
        self._kept = draw(slice(None), _same) if kept else None
        self._images = sample.images
        # What an image's questions of each task add to the composite, in points: (C, I').
        self._moves = [
            (part.images, sample.means(100.0 * part.influence.T / len(sample.parts)).T)
            for part in sample.parts
        ]
        within = [squares_within(each) for each in (sample, replicates) if each is not None]
        self.noise = pooled(within, floors)
        self._runs = of_training(sample.sizes, within[0], self.noise)

    @property
    def drawn(self) -> Floats:
        """Every candidate's: (D, C)."""
        return self._drawn(slice(None))

    @property
    def nbytes(self) -> int:
        """What it keeps in memory, in bytes."""
        moves = sum(moves.nbytes for _, moves in self._moves)
        return moves + (0 if self._kept is None else self._kept.nbytes)

    def _drawn(self, chosen: Chosen, of: Contrast = _same) -> Floats:
        """The columns of those chosen, or a contrast of them: (D, K)."""
        return self._draw(chosen, of) if self._kept is None else of(self._kept[:, chosen])

    def scores(self) -> Estimates:
        """Each candidate's composite, its interval within 0..100. The `p` says nothing.

        Where training noise is known the interval holds what as many runs with other seeds would
        score: their training and their answers come on top of what is uncertain here.
        """
        return _side_by_side(
            len(self.here),
            lambda block: self._estimates(
                self._drawn(block),
                lambda values: values[..., block],
                lambda values, _: values[..., block],
                0.0,
                100.0,
                again=True,
            ),
        )

    def differences(self, plus: ArrayLike, minus: ArrayLike) -> Estimates:
        """Candidates `plus` less candidates `minus`, pair by pair: indices, (K) each."""
        a, b = np.asarray(plus, dtype=np.intp), np.asarray(minus, dtype=np.intp)
        return _side_by_side(
            len(a),
            lambda block: self._estimates(
                self._leads(a[block], b[block]),
                lambda values: values[..., a[block]] - values[..., b[block]],
                lambda values, _: values[..., a[block]] + values[..., b[block]],
                -100.0,
                100.0,
            ),
        )

    def _leads(self, plus: Indices, minus: Indices) -> Floats:
        """What is drawn of candidates `plus` less that of `minus`, pair by pair: (D, K)."""
        used, places = np.unique([plus, minus], return_inverse=True)
        a, b = places.reshape(2, -1)
        return self._drawn(used, lambda values: values[:, a] - values[:, b])

    def contrasts(self, shares: Floats) -> Estimates:
        """Sums of composites, each times its share: (K, C)."""
        return self._estimates(
            self._drawn(slice(None), lambda values: values @ shares.T),
            lambda values: values @ shares.T,
            lambda values, power: values @ shares.T ** (2 * power),
            100.0 * shares.clip(max=0.0).sum(1),
            100.0 * shares.clip(min=0.0).sum(1),
        )

    def behind_best(self, among: ArrayLike) -> Floats:
        """Of each of the candidates `among` (indices, K) the p of being as good as the best: (K).

        The best is not known beforehand, so its lead is held against the largest lead that any of
        them would have over any other if all were as good: the studentised range of Tukey, from the
        draws. If so, one of them has a p below 0.05 in at most about 5 % of studies. Where there
        are too many pairs to look at, Bonferroni's bound is all there is: it tells fewer apart.
        """
        chosen = np.asarray(among, dtype=np.intp)
        best = int(self.here[chosen].argmax())
        others = np.delete(np.arange(len(chosen)), best)
        corrected = np.ones(len(chosen))
        if not len(others):
            return corrected
        p = self.differences(chosen[others], np.full(len(others), chosen[best])).p
        pairs = len(chosen) * len(others) // 2
        bound = (p * pairs).clip(max=1.0)
        if pairs * FEWEST <= WORK:
            largest = self._largest_leads(chosen)
            lead = -ndtri(p / 2)  # in errors as if they were known: few images make tails heavier
            beyond = (largest[:, None] >= lead - TINY).sum(0) + 1
            bound = np.minimum(bound, beyond / (len(largest) + 1))
        corrected[others] = np.maximum(p, bound)
        return corrected

    def _largest_leads(self, chosen: Indices) -> Floats:
        """In each of some draws the largest lead of any of those chosen (K) over any other, in
        errors, if all were as good: (D')."""
        a, b = np.triu_indices(len(chosen), 1)
        drawn = self._drawn(chosen)[: WORK // len(a)]
        apart = (drawn - self.here[chosen]) * unbiased(self._images)
        luck = np.random.default_rng(SEED).standard_normal(apart.shape)
        apart = apart + luck * np.sqrt(self._runs.variance[chosen])
        error = self._errors_of_pairs(chosen)
        largest = np.zeros(len(drawn))
        for start in range(0, len(a), BLOCK):
            first, second = a[start : start + BLOCK], b[start : start + BLOCK]
            moved = abs(apart[:, first] - apart[:, second])
            np.maximum(largest, ratio(moved, error[first, second]).max(1), out=largest)
        return largest

    def _errors_of_pairs(self, chosen: Indices) -> Floats:
        """The errors that `differences` of those chosen (K) have, of all pairs at once: (K, K)."""
        whole = np.zeros((len(chosen), self._images))
        for images, moves in self._moves:
            whole[:, images] += moves[chosen] * unbiased(len(images))
        whole -= whole.mean(0)  # what all share is in no difference, and would cost digits
        products = whole @ whole.T
        squares = products.diagonal()
        seeds = self._runs.variance[chosen]
        variance = (squares[:, None] + squares - 2.0 * products).clip(min=0.0)
        return np.sqrt(variance + seeds[:, None] + seeds)

    def _estimates(
        self,
        drawn: Floats,
        of: Contrast,
        added: Added,
        least: Bound,
        most: Bound,
        again: bool = False,
    ) -> Estimates:
        """Contrasts `of` the candidates' values, and the sums of independent variances `added`.

        `drawn`: the contrasts of what is drawn, (D, K). `again`: for the same of other runs.

        `least` and `most`, one for all or (K): what a contrast can be at all, and its interval.
        """
        estimate = of(self.here)
        resampled, error, freedom = self._errors(of, added, again)
        drawn = drawn - estimate
        drawn *= ratio(error, resampled)  # in place: of many candidates it is most of the memory
        drawn += estimate
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


def _side_by_side(count: int, make: Callable[[slice], Estimates]) -> Estimates:
    """So many estimates, of which `make` makes some at a time."""
    starts = range(0, max(count, 1), SIDE_BY_SIDE)
    blocks = [make(slice(start, start + SIDE_BY_SIDE)) for start in starts]
    return Estimates(*map(np.concatenate, zip(*blocks, strict=True)))
