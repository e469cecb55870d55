"""What many comparisons at once are worth: Holm's correction, the winner's curse, what can be seen.

Numbers are points, 0..100; images are what is resampled (see `statistics`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from ablate.stats.bootstrap import Ints, Sample
from ablate.stats.draws import SEED
from ablate.stats.intervals import LEVEL, Estimates, Floats, Interval

ALPHA = 0.05
"""A (corrected) p-value below it is more than chance."""
POWER = 0.8
SPLITS = 500
BLOCK = 2**20
"""Composites at a time, to bound memory."""


def holm(p: ArrayLike) -> Floats:
    """P-values corrected for being several (Holm, Scandinavian Journal of Statistics 6, 1979).

    If none of the differences is real, the chance that any corrected value is below 0.05 is at most
    0.05, however they hang together. NaN is no comparison, and stays.
    """
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full_like(given, np.nan)
    order = np.argsort(given)[: np.count_nonzero(~np.isnan(given))]
    left = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * left), 1.0)
    return corrected


def detectable(estimate: Interval | Estimates) -> Floats:
    """The smallest true difference that is seen (an interval without zero) in 80 % of studies.

    By the interval of a difference, whichever way it was made, so never less than half of it is
    wide: the farther end is away by t(0.975) standard errors, and t(0.8) more are wanted.
    """
    reach = np.maximum(
        np.subtract(estimate.high, estimate.estimate), np.subtract(estimate.estimate, estimate.low)
    )
    sure = stdtrit(estimate.freedom, 0.5 + LEVEL / 2)
    wanted: Floats = reach * (1.0 + stdtrit(estimate.freedom, POWER) / sure)
    return wanted


@dataclass(frozen=True)
class SplitHalf:
    """Chosen on one half of the images and scored again on the other, a mean over many splits.

    `chosen`: the score of each half's winner on that half; `held`: on the half that had no part in
    the choice, so that the gap is what being chosen flatters by; on all images, twice as many, it
    is less. `gain`, `held_gain`: the same over the reference. `again`: the share of halves that
    the winner on all images wins.
    """

    chosen: float
    held: float
    gain: float
    held_gain: float
    again: float


def halves(sample: Sample, rivals: ArrayLike, reference: int, splits: int = SPLITS) -> SplitHalf:
    """The winner's curse of choosing the best of `rivals` (indices of candidates).

    Images are split at random, the same way in each run of this program.
    """
    ranks = np.random.default_rng(SEED).random((splits, sample.images)).argsort(1)
    half = (ranks < sample.images // 2).astype(np.float64)
    among = np.asarray(rivals, dtype=np.intp)
    everything = sample.composites(np.ones((1, sample.images)))
    best = among[everything[0, among].argmax()]
    block = max(1, BLOCK // len(sample.sizes))
    made = [
        _chosen(sample, half[start : start + block], among, reference)
        for start in range(0, splits, block)
    ]
    winner, chosen, held, gain, held_gain = map(np.concatenate, zip(*made, strict=True))
    return SplitHalf(
        chosen=float(chosen.mean()),
        held=float(held.mean()),
        gain=float(gain.mean()),
        held_gain=float(held_gain.mean()),
        again=float((winner == best).mean()),
    )


def _chosen(
    sample: Sample, half: Floats, among: Ints, reference: int
) -> tuple[Ints, Floats, Floats, Floats, Floats]:
    """By split, (S,) each: the winner on that half, its score there and on the other, and the same
    over the reference. `half` (S, I): 1 where an image belongs to it."""
    composites, turn = sample.composites(half), np.arange(len(half))
    winner = among[composites[:, among].argmax(1)]
    chosen, before = composites[turn, winner], composites[:, reference]
    composites = sample.composites(1.0 - half)
    held, held_before = composites[turn, winner], composites[:, reference]
    return winner, chosen, held, chosen - before, held - held_before
