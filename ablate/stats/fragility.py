"""How much a choice hangs on which benchmarks were asked.

A suite is one selection of benchmarks among many that would have done. So each is left out, and as
many are drawn with replacement, each counted as often as it is drawn (a bootstrap over benchmarks:
Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 2), and every choice is
made anew by the mean of what is left. That takes the scores alone, so it can be done to published
ones. It says nothing of the choice of questions, nor of training noise.

Shapes: D draws, C candidates, B benchmarks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS, FEWEST, WORK = 100_000, 10_000, 2**25
"""Resamples: a share of them moves by about 0.2 % with the seed. Of many candidates there are only
as many as make `WORK` composites, at least `FEWEST`: then by up to 0.5 %."""
SEED = 0
ROUNDED = 9
"""Digits of a composite: what differs behind them is equal, and the first of equal ones wins."""
_BLOCK = 2**20
"""Composites at a time, to bound memory."""

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Choice:
    """One choice among `rivals`, by their rows in the scores; of equal ones the first wins.

    `held_against`: the row that each rival is to be better than, None where there is none.
    """

    rivals: Sequence[int]
    held_against: Sequence[int | None] = ()


@dataclass(frozen=True)
class Fragility:
    """What comes of one choice. Entries of rivals are in their order.

    `winner`: the rival chosen by all benchmarks, `without` (B,) the one chosen without each of
    them, both as places among the rivals (`without` is empty where there is one benchmark only).
    `wins`: the share of resamples that choose each rival; `above`: in which each is better than
    what it is held against, NaN where that is nothing.
    """

    winner: int
    without: Ints
    wins: Floats
    above: Floats


@dataclass(frozen=True)
class Path:
    """What comes of each of several choices, and in which share of the `draws` all of them stay."""

    choices: list[Fragility]
    kept: float
    draws: int


def fragility(scores: ArrayLike, choices: Sequence[Choice], draws: int | None = None) -> Path:
    """What comes of each choice where benchmarks are left out and resampled.

    `scores`: (C, B), in whatever unit, the same for all benchmarks. All choices share the draws;
    `draws`: how many, see `DRAWS`.
    """
    given = np.asarray(scores, dtype=np.float64)
    candidates, benchmarks = given.shape
    draws = draws or min(DRAWS, max(FEWEST, WORK // candidates))
    rivals = [np.asarray(choice.rivals, dtype=np.intp) for choice in choices]
    against = [_against(choice) for choice in choices]
    whole = given.sum(1, keepdims=True)
    composites = (whole / benchmarks).round(ROUNDED).T  # (1, C)
    left = ((whole - given) / max(benchmarks - 1, 1)).round(ROUNDED).T  # (B, C)
    winners = [int(composites[:, rows].argmax()) for rows in rivals]
    wins, above = [np.zeros(len(rows)) for rows in rivals], [np.zeros(len(rows)) for rows in rivals]
    kept = 0
    for drawn in _resampled(given, draws):
        same = np.ones(len(drawn), dtype=bool)
        for n, rows in enumerate(rivals):
            among = drawn[:, rows]
            chosen = among.argmax(1)
            same &= chosen == winners[n]
            wins[n] += np.bincount(chosen, minlength=len(rows))
            above[n] += (among > drawn[:, against[n]]).sum(0)
        kept += int(same.sum())
    choices_made = [
        Fragility(
            winner=winners[n],
            without=left[:, rows].argmax(1) if benchmarks > 1 else np.zeros(0, dtype=np.intp),
            wins=wins[n] / draws,
            above=np.where(against[n] >= 0, above[n] / draws, np.nan),
        )
        for n, rows in enumerate(rivals)
    ]
    return Path(choices_made, kept / draws, draws)


def _against(choice: Choice) -> Ints:
    """The row that each rival is held against; -1 where there is none."""
    rows = choice.held_against or [None] * len(choice.rivals)
    return np.array([-1 if row is None else row for row in rows], dtype=np.intp)


def _resampled(scores: Floats, draws: int) -> Iterator[Floats]:
    """Composites over resampled benchmarks, (some draws, C) at a time."""
    count, benchmarks = scores.shape
    rng = np.random.default_rng(SEED)
    block = max(1, _BLOCK // max(count, 1))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        times = rng.multinomial(benchmarks, np.full(benchmarks, 1.0 / benchmarks), size=size)
        composites = times @ scores.T
        composites /= benchmarks
        yield composites.round(ROUNDED, out=composites)
