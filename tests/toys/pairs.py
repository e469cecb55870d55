"""Pairs of two axes to test: a few in which every value is, and the others, which are slow."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest


def few_fast(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """All pairs as parameters; not `slow` are so many that each value meets two of the other axis.

    They are taken along diagonals, on each of which every value is.
    """
    every = list(pairs)
    rows, columns = ([*dict.fromkeys(side)] for side in zip(*every, strict=True))

    def diagonal(pair: tuple[str, str]) -> int:
        across = rows.index(pair[0]) - columns.index(pair[1])
        return across % min(len(rows), len(columns))

    met: Counter[tuple[int, str]] = Counter()
    fast = set()
    for pair in sorted(every, key=diagonal):
        if any(met[place] < 2 for place in enumerate(pair)):
            met.update(enumerate(pair))
            fast.add(pair)
    return [pytest.param(*pair, marks=() if pair in fast else pytest.mark.slow) for pair in every]
