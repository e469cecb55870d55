"""What it is worth to trust a proxy: its ranks and its choices, held against the scores themselves.

A search chooses among the candidates of one round, so a proxy is judged within rounds: that more
encoders are better than fewer it need not tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Round = tuple[ArrayLike, ArrayLike]
"""The proxy's numbers and the scores of the candidates of a round, in the same order."""


@dataclass(frozen=True)
class HitRate:
    """What a proxy was worth, over `rounds` rounds and `candidates` candidates.

    `rank`: mean rank correlation within rounds (Spearman), each weighted by its candidates less
    one; None where the proxy tells none of them apart. `fit`: R2 of the best line within rounds;
    `left_out`: the same of each candidate predicted from the others, below 0 where their mean is
    the better guess. `hits`: rounds whose best the proxy names. `regret` and `worst`: what its
    choice is behind the best, mean and largest, in points. `keep`: how many of a round would have
    to be kept, by the proxy's order, to have the best in every round.
    """

    rounds: int
    candidates: int
    rank: float | None
    fit: float | None
    left_out: float | None
    hits: int
    regret: float
    worst: float
    keep: int


def hit_rate(rounds: Sequence[Round]) -> HitRate | None:
    """None where no round has two candidates to choose from."""
    known = [(np.asarray(proxy, float), np.asarray(scores, float)) for proxy, scores in rounds]
    asked = [(proxy, scores) for proxy, scores in known if len(scores) > 1]
    if not asked:
        return None
    ranks = [(len(scores) - 1, spearman(proxy, scores)) for proxy, scores in asked]
    comparable = [(weight, rank) for weight, rank in ranks if rank is not None]
    behind = [float(scores.max() - scores[proxy.argmax()]) for proxy, scores in asked]
    kept = [int(np.sum(proxy >= proxy[scores.argmax()])) for proxy, scores in asked]
    fit, left_out = _line(asked)
    return HitRate(
        rounds=len(asked),
        candidates=sum(len(scores) for _, scores in asked),
        rank=sum(w * r for w, r in comparable) / sum(w for w, _ in comparable)
        if comparable
        else None,
        fit=fit,
        left_out=left_out,
        hits=sum(loss == 0.0 for loss in behind),
        regret=sum(behind) / len(behind),
        worst=max(behind),
        keep=max(kept),
    )


def spearman(a: Floats, b: Floats) -> float | None:
    """The rank correlation; None where one of the two tells nothing apart."""
    x, y = (_ranks(values) - (len(values) + 1) / 2 for values in (a, b))
    norm = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / norm if norm else None


def _ranks(values: Floats) -> Floats:
    """From 1; equal ones share the mean of theirs, as by `rankdata` of scipy.stats.

    That module takes half a second to import, which every report would wait for.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def _line(rounds: Sequence[tuple[Floats, Floats]]) -> tuple[float | None, float | None]:
    """R2 of one slope and a mean a round, in sample and left out (PRESS, Allen 1974).

    Left out of three or more: of two candidates, one left out leaves nothing to tell it from.
    """
    asked = [pair for pair in rounds if len(pair[1]) > 2]
    if not asked:
        return None, None
    x, y = (np.concatenate([pair[n] - pair[n].mean() for pair in asked]) for n in (0, 1))
    own_share = np.concatenate([np.full(len(scores), 1.0 / len(scores)) for _, scores in asked])
    squares, total = float((x**2).sum()), float((y**2).sum())
    if not squares or not total:
        return None, None
    residual = y - x * (x @ y) / squares
    press = residual / (1.0 - own_share - x**2 / squares).clip(min=1e-9)
    alone = y / (1.0 - own_share)  # what the mean of the others is off by
    return (
        1.0 - float((residual**2).sum()) / total,
        1.0 - float((press**2).sum()) / float((alone**2).sum()),
    )
