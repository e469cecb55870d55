"""POPE's F1 of yes: 2TP / (2TP + FP + FN), as a weighted mean of its answers.

See `ablate.stats`. As in lmms-eval, an answer that is neither yes nor no counts as nothing at all.
"""

from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """A right answer is 1; it weighs by how often yes is said or true, 0 to 2."""
    return [_score(result["ground_truth"], result["prediction"]) for result in held]


def _score(truth: str, prediction: str) -> tuple[float, float]:
    if prediction not in ("yes", "no"):
        return 0.0, 0.0
    return float(prediction == truth), float((prediction == "yes") + (truth == "yes"))


READER = MetricReader(scores)
