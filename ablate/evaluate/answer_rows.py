"""lmms-eval's samples as rows of `answers.jsonl`: each answer with a score and a weight.

A score lies in 0..1, and a task's metric is the weighted mean of its scores, on the whole set
exactly; so intervals can be had for every metric from the rows alone (see `ablate.stats`). How the
samples of a metric are scored one by one, its reader in `ablate.evaluate.metrics` says.
"""

from collections.abc import Sequence
from typing import Any

from ablate.catalog.suites import SuiteTask
from ablate.errors import nearest
from ablate.evaluate.metrics import GIVEN, Row, given, reader, truth

SAMPLE = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "token_counts", "doc_hash")
) | {"input_media"}
"""What lmms-eval says of each answer beside its metrics."""


def rescale(task: SuiteTask, figure: float, samples: Sequence[Row]) -> float:
    """lmms-eval's figure of the task's metric as it would be if `samples` were the whole set."""
    return figure / reader(task.metric).share(_held(task, samples))


def rounding(task: SuiteTask) -> float:
    """How far the figure may be off what the rows give, in 0..1."""
    return reader(task.metric).rounding


def rows(task: SuiteTask, samples: Sequence[Row], questions: Sequence[Row]) -> list[Row]:
    """The rows of `answers.jsonl`; `samples` and `questions` in the same order."""
    scored = reader(task.metric).scores(_held(task, samples))
    return [
        {
            "task": task.task,
            **{field: question[field] for field in ("id", "image", "question")},
            "truth": truth(sample),
            "answer": sample["filtered_resps"][0],
            "score": float(score),
            "weight": float(weight),
        }
        for sample, question, (score, weight) in zip(samples, questions, scored, strict=True)
    ]


def require_score(task: SuiteTask, result: Row) -> None:
    """UserError where a scorer's `result` of an answer holds no score of it."""
    held = result[metric_name(task)]
    if reader(task.metric) is GIVEN and held is not None:
        given([held])


def metric_name(task: SuiteTask) -> str:
    """The metric without its filter: what a scorer calls it."""
    return task.metric.split(",")[0]


def _held(task: SuiteTask, samples: Sequence[Row]) -> list[Any]:
    """What each sample holds of the metric; None where it does not enter it.

    It is the sample itself for a reader of samples. Raises `RuntimeError` where none holds any.
    """
    if reader(task.metric).of_samples:
        return list(samples)
    held = [sample.get(metric_name(task)) for sample in samples]
    if all(truth_held is None for truth_held in held):
        known = {key for sample in samples for key in sample.keys() - SAMPLE}
        close = nearest(metric_name(task), known) if known else ""
        raise RuntimeError(f"{task.task}: lmms-eval scores no answer by {metric_name(task)}{close}")
    return held
