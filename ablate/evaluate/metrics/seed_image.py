"""SEED-Bench on images: the letter that was said is the right one."""

from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """1 where the letters agree, in either case."""
    return [
        (float(result["pred"].lower().strip() == result["answer"].lower().strip()), 1.0)
        for result in held
    ]


READER = MetricReader(scores)
