"""What a metric makes of an answer that it cannot read."""

from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]

YES_NO = frozenset({"pope_f1_score", "pope_accuracy", "f1"})
"""Metrics that read yes or no, and leave out what is neither, or take it for no (ours)."""


def unread(metric: str, answer: str) -> bool:
    """Whether a scorer could make nothing of an answer: blank, or neither where it is yes or no.

    Such an answer may weigh nothing, so that a score rests on the few that could be read. By the
    rows alone, so that it is known of records that do not count them, too.
    """
    said = str(answer).lower().strip()
    return not said or (metric.split(",")[0] in YES_NO and said not in {"yes", "no"})


def count_unread(metrics: Mapping[str, str], rows: Iterable[Row]) -> dict[str, int]:
    """How many of the rows of `answers.jsonl` were not read, by task; `metrics`: by task."""
    found = dict.fromkeys(metrics, 0)
    for row in rows:
        if row["task"] in metrics and unread(metrics[row["task"]], row.get("answer", "-")):
            found[row["task"]] += 1
    return found
