"""Metrics whose score of each answer is no number that lmms-eval says, one file each.

A metric is one file: its name is the metric's, its docstring's first line the description, and its
`READER` a `MetricReader`. Another package adds its own through the entry-point group
`ablate.metrics` (`name = "package.module:READER"`). Every other metric is read by `GIVEN`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ablate.catalog.metric_readers import READERS, name_of
from ablate.errors import UserError

Row = dict[str, Any]
Scores = list[tuple[float, float]]
"""Score (0..1) and weight of each sample: the metric is their weighted mean."""
SCORE = ("score", "is_correct", "correct", "hit", "acc", "accuracy")
"""What scorers call the score of an answer; that their mean is the metric, is checked."""


class MetricReader(NamedTuple):
    """How a task's samples are scored one by one.

    `scores` takes what each sample holds of the metric (None where it does not enter it); with
    `of_samples` the samples themselves, and lmms-eval need not know the metric: `truth(sample)` is
    the right answer and `sample["filtered_resps"][0]` the one that was given.
    `share`: how much of the whole set they are, for figures that take a whole set for granted;
    `rounding`: how far lmms-eval's figure may be off the exact one, in 0..1.
    """

    scores: Callable[[Sequence[Any]], Scores]
    share: Callable[[Sequence[Any]], float] = lambda held: 1.0
    rounding: float = 1e-9
    of_samples: bool = False


def reader(metric: str) -> MetricReader:
    """Who reads the metric; UserError where another package has none."""
    name = name_of(metric)
    if name is None:
        return GIVEN
    loaded = READERS.load(name)
    with READERS.blame(name, "be loaded"):
        if not isinstance(loaded, MetricReader):
            raise TypeError(f"{loaded!r} is no MetricReader")
    return loaded


def truth(sample: Row) -> str:
    """The right answer, or the first that is accepted."""
    doc = sample["doc"]
    answer = doc["answers"] if "answers" in doc and "answer" not in doc else sample["target"]
    answer = answer[0] if isinstance(answer, list) else answer
    return str(answer["answer"] if isinstance(answer, Mapping) else answer)


def given(held: Sequence[Any]) -> Scores:
    """The score is there, as a number or (perhaps with a weight) in a mapping.

    UserError where it is not: a metric of all answers together has no interval.
    """
    return [_part(result if isinstance(result, Mapping) else {"score": result}) for result in held]


GIVEN = MetricReader(given)


def _part(result: Mapping[str, Any]) -> tuple[float, float]:
    score = next(
        (result[key] for key in SCORE if isinstance(result.get(key), bool | int | float)), None
    )
    if score is None:
        keys = ", ".join(sorted(result))
        raise UserError(
            f"lmms-eval gives its answers no score of their own (it gives {keys}): the metric is "
            "made of all of them together, or by a judge, and has no interval here"
        )
    return float(score), float(result.get("weight", 1.0))
