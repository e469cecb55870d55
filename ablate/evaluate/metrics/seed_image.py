"""SEED-Bench on images: the letter that was said is the right one."""

from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """1 where the letters agree, in either case."""
    return [
        (float(one["pred"].lower().strip() == one["answer"].lower().strip()), 1.0) for one in held
    ]


READER = MetricReader(scores)
