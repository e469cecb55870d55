"""95 % intervals, and p-values that are these intervals turned round, for many estimates at once.

Three ways to know how far an estimate may be from the truth, each a `Bounds`. An interval here is
the widest of those that apply, its p the largest of theirs, so p < 0.05 says exactly what an
interval without zero does. All is in points; estimates are (K), draws of them (D, K).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEVEL = 0.95
OUTSIDE = (1.0 - LEVEL) / 2
TINY = 1e-9
"""What is this close to zero is zero, but for rounding."""

Floats = NDArray[np.float64]
Bound = float | Floats


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


class Numbered:
    """Estimates by number, as they are made: arrays, where objects would fill the memory."""

    def __init__(self) -> None:
        self._places = np.full(0, -1)  # by number; -1 where there is none
        self._made = Estimates(*[np.zeros(0)] * len(Estimates._fields))

    def __contains__(self, number: int) -> bool:
        return number < len(self._places) and bool(self._places[number] >= 0)

    def add(self, numbers: Sequence[int], made: Estimates) -> None:
        """Those of these numbers, which have none."""
        more = max(0, max(numbers) + 1 - len(self._places))
        self._places = np.pad(self._places, (0, more), constant_values=-1)
        self._places[numbers] = np.arange(len(numbers)) + len(self._made.p)
        self._made = Estimates(*map(np.concatenate, zip(self._made, made, strict=True)))

    def interval(self, number: int) -> Interval:
        """That of this number."""
        return self._made.interval(int(self._places[number]))


class Bounds(NamedTuple):
    """The ends of intervals, and the two-sided p of zero: the level at which it is just held."""

    low: Floats
    high: Floats
    p: Floats


def union(several: Sequence[Bounds]) -> Bounds:
    """What all of them hold."""
    low, high, p = (np.stack(each) for each in zip(*several, strict=True))
    low, high = low.min(0), high.max(0)
    return Bounds(
        np.where(abs(low) < TINY, 0.0, low),
        np.where(abs(high) < TINY, 0.0, high),
        p.max(0).clip(max=1.0),
    )


def student(estimate: Floats, error: Floats, freedom: Floats) -> Bounds:
    """Student's: by the standard `error` and its degrees of freedom."""
    reach = -stdtrit(freedom, OUTSIDE) * error
    certain = np.where(abs(estimate) > TINY, np.inf, 0.0)
    size = np.divide(abs(estimate), error, out=certain, where=error > 0.0)
    return Bounds(estimate - reach, estimate + reach, 2.0 * stdtr(freedom, -size))


def expanded(drawn: Floats, freedom: Floats) -> Bounds:
    """The percentiles of the draws, so far out as Student's quantile asks for.

    Where the normal distribution has 2.5 % beyond z, as much of the draws is left out as it has
    beyond t (Hesterberg, The American Statistician 69, 2015: the expanded percentile interval).
    Sorts the draws in place.
    """
    drawn.sort(axis=0)
    count = len(drawn)
    last = np.ceil(count * ndtr(stdtrit(freedom, OUTSIDE))).astype(np.intp)[None] - 1
    low, high = (np.take_along_axis(drawn, end, 0)[0] for end in (last, count - 1 - last))
    beyond = np.minimum((drawn <= TINY).sum(0), (drawn >= -TINY).sum(0))
    return Bounds(low, high, 2.0 * stdtr(freedom, ndtri(beyond / count)))


def exact_bounds(estimate: Floats, images: int, least: Bound, most: Bound) -> Bounds:
    """Where all of the `images` say the same: others, unseen, may say `least`, or `most`.

    If a share s of all images did, none of n would be of them with probability (1 - s)^n. For
    scores that are all right this is the exact (Clopper-Pearson) interval, near 3 / n wide (the
    rule of three: Hanley and Lippman-Hand, JAMA 249, 1983); for n images that all turned from wrong
    to right p is that of the sign test, 2^(1 - n).
    """
    share = 1.0 - OUTSIDE ** (1.0 / images)
    across = np.where(estimate > 0.0, -least, most)
    return Bounds(
        estimate - share * (estimate - least),
        estimate + share * (most - estimate),
        2.0 * (across / (across + abs(estimate))) ** images,
    )
