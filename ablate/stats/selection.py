"""Which of several rivals is best, look by look: who is out, who leads, who is as good.

A race trains its rivals a little, looks, drops those that cannot be the best, trains the others
more (Maron and Moore, Hoeffding Races, NIPS 1993, with Student's bound in place of Hoeffding's,
which is too wide for a handful of runs). `judge` is what it asks at each look:

    looks = [Look(names, means, runs, images, noise, crossing), ...]      # all so far, in order
    verdict = judge(looks, most_looks=4, indifference=0.5)
    go_on = verdict.open and (verdict.leader, *verdict.open)              # nothing is open: it ends

- `out` is worse than some rival, and never comes back.
- `equal` is not out, but better than the leader by at most `indifference`, so it rests: it gets no
  more training, and is open again only if another takes the lead.
- `open` gets more: the next budget, and after the last one more seeds.

**The error.** With probability `1 - alpha` nothing is wrong: the best is never out, and where
nothing is open the leader is within `indifference` of the best. All that can go wrong is a bound
between the truly best and one of its rivals at one of the looks (Hsu's comparison with the best:
Multiple Comparisons, 1996, chapter 4), so each one-sided bound has the level

    alpha / (most_looks * (rivals - 1)).

Bonferroni's division is meant: looks share seeds, questions and prefixes, so that they have no
independent increments, which the boundaries of Lan and DeMets (Biometrika 70, 1983) need; and
bounds that hold at any time (Howard et al., Annals of Statistics 49, 2021; Jamieson et al., COLT
2014) pay for looks that are never made: at four looks they are a fifth to a quarter wider. A pair's
bounds hold together, so the narrowest of them counts, and one that rests keeps the bound it had.
Kim and Nelson's screening (KN, ACM TOMACS 11, 2001) is for very many looks: at up to eight it drops
a rival only when it is farther behind, where the indifference is no larger than the noise of a run.

**The bound.** The difference of two means has the variance

    images + noise (1 / runs of one + 1 / runs of the other) + 2 crossing

and Satterthwaite's degrees of freedom. `images` are those of `image_spread`; `crossing` is how far
candidates move against each other from this budget to the whole one (learning curves cross; see
`crossing_spread`), `WHOLE` at the whole one. Where `noise` or `crossing` is None nobody has
measured it, there is no bound, and a guard takes its place: the best half goes on, at least three
(`proved` is then False).

Where gaps are no larger than the noise no bound can drop anybody early, and a race costs as much as
training all (docs/search.md has figures). Who has to hold to a budget lets so many go on, as
`strategies.halving` does; how often that finds the best `ablate plan --strategy` simulates.

Arrays are in points; K rivals of a look.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from ablate.stats.bootstrap import Sample
from ablate.stats.intervals import TINY, Floats
from ablate.stats.noise import unbiased

ALPHA = 0.05
FEWEST = 3
"""How many go on at least where no bound can be had."""


class Spread(NamedTuple):
    """A variance, in squared points, and its degrees of freedom: numbers, or arrays for each."""

    variance: ArrayLike
    freedom: ArrayLike = np.inf


WHOLE = Spread(0.0)
"""The crossing of a budget that is the whole one."""


@dataclass(frozen=True)
class Look:
    """What is known of the rivals at one budget.

    `names` (K) and the `means` (K) of their runs' composites; how many `runs` (K) each has;
    `images`: the variance that the choice of questions gives each difference (K, K), zero to judge
    for these questions alone; `noise`: of a single run at this budget, one number or (K), None
    where it is not known; `crossing`: of one candidate from this budget to the whole one, None
    where it is not known.
    """

    names: Sequence[str]
    means: ArrayLike
    runs: ArrayLike
    images: Spread = WHOLE
    noise: Spread | None = None
    crossing: Spread | None = WHOLE


@dataclass(frozen=True)
class Verdict:
    """What the looks so far say. Every rival is the `leader`, `out`, `equal` or `open`.

    `ranked`: all rivals, the leader first, then by how far they came and their means; `proved`:
    whether everybody's place follows from a bound; `good`: the probability that no rival is better
    than the leader by more than the indifference, None where no bound is known. `ahead`: the most
    that each may be ahead of the leader, infinite where that is not known.
    """

    leader: str
    out: tuple[str, ...]
    equal: tuple[str, ...]
    open: tuple[str, ...]
    ranked: tuple[str, ...]
    proved: bool
    good: float | None
    ahead: Mapping[str, float]


def judge(
    looks: Sequence[Look], most_looks: int, indifference: float = 0.0, alpha: float = ALPHA
) -> Verdict:
    """The verdict on the rivals of the first of these `looks`, of which there are `most_looks`.

    Raises ValueError for an indifference below zero, and for more looks than were announced.
    """
    if indifference < 0.0:
        raise ValueError(f"an indifference of {indifference:g} is below zero")
    if not 1 <= len(looks) <= most_looks:
        raise ValueError(f"{len(looks)} looks, announced were {most_looks}")
    names = list(looks[0].names)
    level = alpha / (most_looks * max(len(names) - 1, 1))
    index_of = {name: n for n, name in enumerate(names)}
    upper = np.full((len(names), len(names)), np.inf)
    np.fill_diagonal(upper, 0.0)
    better = np.full_like(upper, np.nan)  # no more than indifferently, at their last common look
    out = np.zeros(len(names), dtype=bool)
    score, depth, proved = np.zeros(len(names)), np.zeros(len(names), dtype=int), True
    for number, look in enumerate(looks):
        rows = np.array([index_of[name] for name in look.names])
        score[rows], depth[rows] = look.means, number
        if len(rows) == 1:
            continue
        advantages = _advantages(look)
        if advantages is None:
            proved = False
            out[rows[_left_behind(np.asarray(look.means))]] = True
            continue
        gap, error, freedom = advantages
        block = np.ix_(rows, rows)
        upper[block] = np.minimum(upper[block], gap - stdtrit(freedom, level) * error)
        better[block] = _chance(indifference - gap, error, freedom)
    out |= (upper < -TINY).any(1)
    order = sorted(range(len(names)), key=lambda n: (out[n], -depth[n], -score[n], names[n]))
    leader = order[0]
    equal = ~out & (upper[:, leader] <= indifference + TINY)
    equal[leader] = False
    chosen = [n for n in order if n != leader]
    known = better[chosen, leader]
    return Verdict(
        leader=names[leader],
        out=tuple(names[n] for n in chosen if out[n]),
        equal=tuple(names[n] for n in chosen if equal[n]),
        open=tuple(names[n] for n in chosen if not (out[n] or equal[n])),
        ranked=tuple(names[n] for n in order),
        proved=proved,
        good=None if np.isnan(known).any() else float(np.prod(known)),
        ahead={name: float(bound) for name, bound in zip(names, upper[:, leader], strict=True)},
    )


def _advantages(look: Look) -> tuple[Floats, Floats, Floats] | None:
    """Of each over each other (K, K): the gap, its error, its degrees of freedom."""
    if look.noise is None or look.crossing is None:
        return None
    means = np.asarray(look.means, dtype=np.float64)
    variance, freedom = (np.asarray(each, dtype=np.float64) for each in look.images)
    parts = [(variance, freedom)]
    for spread, runs in ((look.noise, np.asarray(look.runs)), (look.crossing, 1)):
        variance, known = (np.broadcast_to(each, means.shape) for each in spread)
        variance = variance / runs
        parts.append((variance[:, None] + variance, np.minimum(known[:, None], known)))
    whole = reduce(np.add, [variance for variance, _ in parts])
    square = reduce(np.add, [variance**2 / freedom for variance, freedom in parts])
    certain = np.full(whole.shape, np.inf)
    freedom = np.divide(whole**2, square, out=certain, where=square > 0.0)
    return means[:, None] - means, np.sqrt(whole), freedom


def _chance(lead: Floats, error: Floats, freedom: Floats) -> Floats:
    """That a difference is above zero which is estimated as `lead`."""
    certain = np.where(lead >= 0.0, np.inf, -np.inf)
    size = np.divide(lead, error, out=certain, where=error > 0.0)
    chance: Floats = stdtr(freedom, size)
    return chance


def _left_behind(means: Floats) -> NDArray[np.intp]:
    """All but the best half, at least `FEWEST`."""
    order = np.argsort(-means, kind="stable")
    return order[max(FEWEST, -(-len(means) // 2)) :]


def image_spread(sample: Sample) -> Spread:
    """What the choice of images gives each difference of two candidates (C, C).

    Linearised, as `bootstrap` has it, but without a draw: questions on one image belong together.
    """
    whole = np.zeros((len(sample.sizes), sample.images))
    square = np.zeros((len(sample.sizes),) * 2)
    for part in sample.parts:
        moves = sample.means(100.0 * part.influence.T / len(sample.parts)).T
        moves = moves * unbiased(len(part.images))
        whole[:, part.images] += moves
        square += _squares(moves) ** 2 / max(len(part.images) - 1, 1)
    variance = _squares(whole)
    freedom = np.divide(variance**2, square, out=np.full_like(square, np.inf), where=square > 0.0)
    return Spread(variance, freedom.clip(1, max(sample.images - 1, 1)))


def _squares(moves: Floats) -> Floats:
    """Sums of the squared differences of each two rows."""
    lengths = (moves**2).sum(1)
    squares: Floats = (lengths[:, None] + lengths - 2.0 * moves @ moves.T).clip(min=0.0)
    return squares


def crossing_spread(groups: Iterable[Sequence[tuple[float, float]]]) -> Spread | None:
    """How far one candidate moves against others from a budget to the whole one.

    Each group holds the pairs (score at the budget, score of the whole) of candidates that stand
    against each other, as of one round; groups are pooled: the squared deviations of their changes
    from the group's mean over the sum of (pairs - 1). What training noise does to a pair is in it,
    too, and is not taken off: that would rest on how much of it the two runs share. None without
    two pairs in a group.
    """
    squares, freedom = 0.0, 0
    for pairs in groups:
        if len(pairs) > 1:
            change = np.array([whole - part for part, whole in pairs])
            squares += float(((change - change.mean()) ** 2).sum())
            freedom += len(pairs) - 1
    return Spread(squares / freedom, float(freedom)) if freedom else None
