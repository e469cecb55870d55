"""Which answers a scorer could make nothing of, by the rows of `answers.jsonl` alone.

Such an answer may weigh nothing, so that a score rests on the few that could be read. What is
counted here is in records, tables and decisions; of older records it is counted anew.
"""

from collections.abc import Iterable, Mapping
from typing import Any

YES_NO = frozenset({"pope_f1_score", "pope_accuracy", "f1"})
"""Metrics that read yes or no, and leave out what is neither, or take it for no (ours)."""


def unread(metric: str, answer: str) -> bool:
    """Whether a scorer could make nothing of an answer: blank, or neither where it is yes or no."""
    text = str(answer).lower().strip()
    return not text or (metric.split(",")[0] in YES_NO and text not in {"yes", "no"})


def count_unread(metrics: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many of the rows of `answers.jsonl` were not read, by task; `metrics`: by task."""
    counts = dict.fromkeys(metrics, 0)
    for row in rows:
        if row["task"] in metrics and unread(metrics[row["task"]], row.get("answer", "-")):
            counts[row["task"]] += 1
    return counts
