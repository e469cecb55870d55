"""MME's perception: accuracy plus the share of pictures with both questions right, by category.

A right answer scores 1/2, and 1 if its partner is right too; a category weighs the same however
large it is. Questions of cognition weigh nothing. lmms-eval adds up ten categories: of a part of
the set, what counts is the mean over what was asked.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores


def scores(held: Sequence[Any]) -> Scores:
    """Of each answer; of what is no question of perception (None) nothing."""
    asked = [result for result in held if result is not None]
    size = Counter(result["category"] for result in asked)
    right: Counter[tuple[str, str]] = Counter()
    for result in asked:
        right[result["category"], result["question_id"]] += result["score"]
    return [
        (
            result["score"] * right[result["category"], result["question_id"]] / 2,
            1 / size[result["category"]],
        )
        if result is not None
        else (0.0, 0.0)
        for result in held
    ]


def share(held: Sequence[Any]) -> float:
    """How many of the ten categories were asked."""
    return len({result["category"] for result in held if result is not None}) / 10


READER = MetricReader(scores, share)
