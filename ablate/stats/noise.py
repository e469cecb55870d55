"""Training noise: what training a candidate again would change, from runs that differ by seed.

Runs of a candidate differ by their training and, answering the same questions, by what the choice
of questions makes of that (two crossed random effects, images and runs: Searle, Casella and
McCulloch, Variance Components, 1992). The second part is taken off.

Shapes: C candidates, R training runs (one or several a candidate), I images.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ablate.stats.intervals import Floats

if TYPE_CHECKING:
    from ablate.stats.bootstrap import Sample


class Noise(NamedTuple):
    """Training noise: the `variance` of a run's composite when all else stays the same.

    Pooled over `candidates` with several runs, `freedom` (runs less candidates) degrees of freedom.
    `crude`: before what the choice of questions makes was taken off.
    """

    variance: float
    crude: float
    freedom: float
    candidates: int

    @property
    def deviation(self) -> float:
        """The standard deviation of a run, in points."""
        return float(np.sqrt(self.variance))


class Runs(NamedTuple):
    """What training adds to the variance of a candidate's mean, (C,) each; see `Noise`."""

    variance: Floats
    crude: Floats
    freedom: Floats


class Within(NamedTuple):
    """Sums of squares between the runs of each candidate, (C,) each, and their degrees of freedom.

    `crude` of the runs' composites; `images` of what the choice of questions makes of that.
    """

    crude: Floats
    images: Floats
    freedom: Floats


def squares_within(sample: "Sample") -> Within:
    """What the runs of each candidate differ by."""
    sizes = sample.sizes
    if (sizes == 1).all():
        return Within(*np.zeros((3, len(sizes))))
    own, starts = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes) - sizes
    scores = 100.0 * np.mean([part.metric for part in sample.parts], axis=0)
    moves = np.zeros((len(own), sample.images))
    for part in sample.parts:
        shares = 100.0 * part.influence / len(sample.parts) * unbiased(len(part.images))
        moves[:, part.images] += shares
    apart = (scores - sample.means(scores)[own]) ** 2
    of_images = ((moves - sample.means(moves.T).T[own]) ** 2).sum(1)
    crude, images = (np.add.reduceat(each, starts) for each in (apart, of_images))
    return Within(crude, images, sizes - 1.0)


def pooled(within: Sequence[Within]) -> Noise | None:
    """Sums of squares over their degrees of freedom; None where nobody has a second run."""
    crude, images, freedom = (np.concatenate(each) for each in zip(*within, strict=True))
    total = float(freedom.sum())
    if not total:
        return None
    mean = float(crude.sum()) / total
    variance = max(0.0, mean - float(images.sum()) / total)
    return Noise(variance, mean, total, int((freedom > 0).sum()))


OWN = 2.0
"""Degrees of freedom that the pool lends to a candidate whose own runs differ by more than it."""


def of_training(sizes: NDArray[np.intp], own: Within, noise: Noise | None) -> Runs:
    """What training adds to each candidate: the pooled noise, or its own where that is larger.

    Noise is not equal, and pooled blindly the noisy candidate is covered in two of three studies.
    """
    if noise is None:
        nothing = np.zeros(len(sizes))
        return Runs(nothing, nothing, np.full(len(sizes), np.inf))
    crude = ratio(own.crude, own.freedom)
    more = crude > noise.crude
    variance = (crude - ratio(own.images, own.freedom)).clip(min=0.0)
    more &= variance > noise.variance
    freedom = np.minimum(own.freedom + OWN, noise.freedom)
    return Runs(
        np.where(more, variance, noise.variance) / sizes,
        np.where(more, crude, noise.crude) / sizes,
        np.where(more, freedom, noise.freedom),
    )


def unbiased(images: int) -> float:
    """What takes the error of a resampled mean to that of a mean, by how many images there are."""
    n = max(images, 2)
    return float(np.sqrt(n / (n - 1)))


def ratio(top: Floats, under: Floats) -> Floats:
    """Element by element; zero where `under` is."""
    top, under = np.broadcast_arrays(top, under)
    return np.divide(top, under, out=np.zeros_like(top), where=under != 0.0)
