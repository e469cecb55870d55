"""Answers of a candidate's runs as a table."""

from typing import Any

import pandas as pd

from ablate.store.answers import Rows

WORDS = ("task", "id", "image", "question", "truth", "answer")


def answer_frame(rows: Rows) -> pd.DataFrame:
    """A row a question and run, ordered by task, id and seed, of answers that say their `seed`.

    Columns: task, id, image, question, truth, answer; seed; score (0-1, as the metric gave it),
    weight (in the task's mean), points (the score in 0-100).
    """
    cells = [
        {
            **{word: encodable(row[word]) for word in WORDS},
            "seed": row["seed"],
            "score": row["score"],
            "weight": row["weight"],
            "points": 100.0 * row["score"],
        }
        for row in rows
    ]
    numbers = {"score": float, "weight": float, "points": float}
    types = {**dict.fromkeys(WORDS, str), "seed": int, **numbers}
    frame = pd.DataFrame(cells, columns=list(types)).astype(types)
    return frame.sort_values(["task", "id", "seed"], kind="stable", ignore_index=True)


def encodable(value: Any) -> str:
    """Text that can be encoded: a model may emit half a character."""
    return str(value).encode("utf-8", "replace").decode()
