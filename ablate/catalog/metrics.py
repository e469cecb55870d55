"""Which answers a scorer could make nothing of, by the rows of `answers.jsonl` alone.

Such an answer may weigh nothing, so that a score rests on the few that could be read. What is
counted here is in records, tables and decisions; of older records it is counted anew.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

YES_NO = frozenset({"pope_f1_score", "pope_accuracy", "f1"})
"""Metrics that read yes or no, and leave out what is neither, or take it for no (ours)."""


def unread(metric: str, answer: str) -> bool:
    """Whether a scorer could make nothing of an answer: blank, or neither where it is yes or no, or
    of no option where it is a choice."""
    text, name = str(answer).lower().strip(), metric.split(",")[0]
    if name == CHOICE:
        return option_letter(answer) is None
    return not text or (name in YES_NO and text not in {"yes", "no"})


CHOICE = "choice"
"""The metric of users' own benchmarks that reads the letter of an option."""
_LETTERS = (
    re.compile(r"\W*([A-Za-z])\W*$"),  # alone: B, b, (B)
    re.compile(r"\W*([A-Z])[).:,\]]"),  # with its text: B. a cat
    re.compile(r".*\b(?i:answer|option|choice)(?i:\s+is)?[\s:]*\(?([A-Z])\b", re.DOTALL),
)


def option_letter(answer: str) -> str | None:
    """The option that an answer names, as a capital letter; None where it names none."""
    matches = (pattern.match(answer) for pattern in _LETTERS)
    return next((match[1].upper() for match in matches if match), None)


def count_unread(metrics: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many of the rows of `answers.jsonl` were not read, by task; `metrics`: by task."""
    asked = Counter(
        (row["task"], str(row.get("answer", "-"))) for row in rows if row["task"] in metrics
    )  # few answers differ
    counts = dict.fromkeys(metrics, 0)
    for (task, answer), count in asked.items():
        if unread(metrics[task], answer):
            counts[task] += count
    return counts
