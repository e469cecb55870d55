"""Pairs of two axes to test: a few in which every value is, and the others, under a mark."""

from collections.abc import Iterable
from typing import Any

import pytest


def covering(pairs: Iterable[tuple[str, str]], others: pytest.MarkDecorator) -> list[Any]:
    """All pairs as parameters; `others` marks those beyond one for each value of either axis.

    They are taken along a diagonal, on which every value is.
    """
    every = list(pairs)
    rows, columns = ([*dict.fromkeys(side)] for side in zip(*every, strict=True))

    def diagonal(pair: tuple[str, str]) -> int:
        across = rows.index(pair[0]) - columns.index(pair[1])
        return across % min(len(rows), len(columns))

    met, few = set[tuple[int, str]](), set[tuple[str, str]]()
    for pair in sorted(every, key=diagonal):
        if not met.issuperset(enumerate(pair)):
            met.update(enumerate(pair))
            few.add(pair)
    return [pytest.param(*pair, marks=() if pair in few else others) for pair in every]
