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
    asked = [one for one in held if one is not None]
    size = Counter(one["category"] for one in asked)
    right: Counter[tuple[str, str]] = Counter()
    for one in asked:
        right[one["category"], one["question_id"]] += one["score"]
    return [
        (one["score"] * right[one["category"], one["question_id"]] / 2, 1 / size[one["category"]])
        if one is not None
        else (0.0, 0.0)
        for one in held
    ]


def share(held: Sequence[Any]) -> float:
    """How many of the ten categories were asked."""
    return len({one["category"] for one in held if one is not None}) / 10


READER = MetricReader(scores, share)
