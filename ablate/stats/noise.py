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

    def to_json(self) -> dict[str, float]:
        """Its fields by name."""
        return self._asdict()


class Runs(NamedTuple):
    """What training adds to the variance of a candidate's mean, (C,) each; see `Noise`.

    `shared`: whether that is the pool's, one estimate for all of them.
    """

    variance: Floats
    crude: Floats
    freedom: Floats
    shared: NDArray[np.bool_]


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
    candidate_of, starts = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes) - sizes
    scores = 100.0 * np.mean([part.metric for part in sample.parts], axis=0)
    moves = np.zeros((len(candidate_of), sample.images))
    for part in sample.parts:
        shares = 100.0 * part.influence / len(sample.parts) * unbiased(len(part.images))
        moves[:, part.images] += shares
    apart = (scores - sample.means(scores)[candidate_of]) ** 2
    of_images = ((moves - sample.means(moves.T).T[candidate_of]) ** 2).sum(1)
    crude, images = (np.add.reduceat(each, starts) for each in (apart, of_images))
    return Within(crude, images, sizes - 1.0)


def pooled(within: Sequence[Within], floors: Sequence[Noise] = ()) -> Noise | None:
    """Sums of squares over their degrees of freedom; None where nobody has a second run.

    `floors`: what was measured elsewhere, each counted by its own degrees of freedom.
    """
    crude, images, freedom = (
        np.concatenate([getattr(each, name) for each in within] or [np.zeros(0)])
        for name in Within._fields
    )
    total = float(freedom.sum()) + sum(floor.freedom for floor in floors)
    if not total:
        return None
    squares = float(crude.sum()) + sum(floor.crude * floor.freedom for floor in floors)
    of_images = float(images.sum())
    of_images += sum((floor.crude - floor.variance) * floor.freedom for floor in floors)
    count = int((freedom > 0).sum()) + sum(floor.candidates for floor in floors)
    variance = max(0.0, squares - of_images) / total
    return Noise(variance, squares / total, total, count)


PRIOR = 1.0
"""Degrees of freedom that the pool lends to a candidate's own runs.

Noise is not equal, and pooled blindly a candidate of four times the variance of five others is
covered in 78 % of studies. With one degree lent it is covered in 93 to 95 (two to five runs), one
that is like the others in 96 to 99; with two in 89 to 92 (by simulation, `tests/stats`).
"""


def of_training(sizes: NDArray[np.intp], within: Within, noise: Noise | None) -> Runs:
    """What training adds to each candidate: its own noise, shrunk to the pool; of one run the pool.

    `(d0 s0^2 + d s^2) / (d0 + d)` with d0 + d degrees of freedom, s0 the pool's (Smyth, Linear
    Models and Empirical Bayes Methods, 2004, the moderated variance of limma); d0 is `PRIOR`.
    """
    if noise is None:
        nothing = np.zeros(len(sizes))
        return Runs(nothing, nothing, np.full(len(sizes), np.inf), np.zeros(len(sizes), bool))
    lent, freedom = PRIOR, PRIOR + within.freedom
    crude = (lent * noise.crude + within.crude) / freedom
    images = (lent * (noise.crude - noise.variance) + within.images) / freedom
    return Runs(
        (crude - images).clip(min=0.0) / sizes,
        crude / sizes,
        np.where(sizes > 1, np.minimum(freedom, noise.freedom), noise.freedom),
        sizes == 1,
    )


def unbiased(images: int) -> float:
    """What takes the error of a resampled mean to that of a mean, by how many images there are."""
    n = max(images, 2)
    return float(np.sqrt(n / (n - 1)))


def ratio(top: Floats, under: Floats) -> Floats:
    """Element by element; zero where `under` is."""
    top, under = np.broadcast_arrays(top, under)
    return np.divide(top, under, out=np.zeros_like(top), where=under != 0.0)
