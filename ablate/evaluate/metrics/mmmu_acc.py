"""MMMU's accuracy, by lmms-eval's own reading of each answer; its figure is rounded."""

from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """Of each answer by itself."""
    from lmms_eval.tasks.mmmu.utils import evaluate_mmmu

    return [(evaluate_mmmu([result])[1]["acc"], 1.0) for result in held]


READER = MetricReader(scores, rounding=1e-5)
