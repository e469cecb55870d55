"""POPE's F1 of yes: 2TP / (2TP + FP + FN), as a weighted mean of its answers.

See `ablate.stats`. As in lmms-eval, an answer that is neither yes nor no counts as nothing at all.
"""

from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """A right answer is 1; it weighs by how often yes is said or true, 0 to 2."""
    return [_score(one["ground_truth"], one["prediction"]) for one in held]


def _score(truth: str, said: str) -> tuple[float, float]:
    if said not in ("yes", "no"):
        return 0.0, 0.0
    return float(said == truth), float((said == "yes") + (truth == "yes"))


READER = MetricReader(scores)
