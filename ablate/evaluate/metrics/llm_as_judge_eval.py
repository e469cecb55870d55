"""MathVista: what its judge takes for right; lmms-eval's figure is rounded."""

from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """1 where the judge says so."""
    return [(float(result["true_false"]), 1.0) for result in held]


READER = MetricReader(scores, rounding=1e-4)
