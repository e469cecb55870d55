"""The answers of a training run: their scores at hand, their text once it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.files import parse_json

if TYPE_CHECKING:
    from ablate.stats.bootstrap import Sample

Key = tuple[str, str]
"""A question: its task and its id."""
Rows = Sequence[Mapping[str, Any]]
"""Of `answers.jsonl`, one a question."""
ANSWERS = "answers.jsonl"


def rows_in(path: str) -> list[dict[str, Any]]:
    """The rows of an `answers.jsonl`: task, id, image, question, truth, answer, score (0..1) and
    weight."""
    lines = Path(path).read_bytes().split(b"\n")
    rows: list[dict[str, Any]] = parse_json(b"[%b]" % b",".join(filter(None, lines)))  # all at once
    return rows


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """What one training run of a candidate answered, an entry a question.

    `scores` are in 0..1, `weights` those in the task's mean. `read` gives the rows of the same.
    """

    questions: Sequence[Key]
    images: Sequence[str]
    scores: Sequence[float]
    weights: Sequence[float]
    read: Callable[[], Rows]

    @classmethod
    def of(cls, rows: Rows) -> "Answers":
        """The answers in these rows."""
        questions = [(row["task"], row["id"]) for row in rows]
        images, scores, weights = (
            [row[name] for row in rows] for name in ("image", "score", "weight")
        )
        return cls(questions, images, scores, weights, lambda: rows)

    def __repr__(self) -> str:
        return f"<Answers to {len(self.questions)} questions>"

    @cached_property
    def rows(self) -> Rows:
        """The answers with their text."""
        return self.read()

    def only(self, questions: Sequence[Key]) -> "Answers":
        """The answers to these of the questions, in this order."""
        row_of = {key: index for index, key in enumerate(self.questions)}
        chosen = [row_of[key] for key in questions]
        return Answers(
            questions,
            [self.images[index] for index in chosen],
            [self.scores[index] for index in chosen],
            [self.weights[index] for index in chosen],
            lambda: [self.rows[index] for index in chosen],
        )


Replicates = Mapping[str, tuple[Answers, ...]]
"""By design, the answers of training runs that differ in their seed alone, two or more."""


def repeated_sample(replicates: Replicates, questions: Sequence[Key]) -> "Sample | None":
    """Those of the replicates that answered all of these questions, on these; None of none."""
    from ablate.stats.bootstrap import Sample  # numpy: only where there is something to resample

    wanted = set(questions)
    every = [
        [run.only(questions) for run in runs]
        for runs in replicates.values()
        if all(wanted <= set(run.questions) for run in runs)
    ]
    if not every:
        return None
    return Sample(
        every[0][0].images,
        [task for task, _ in questions],
        [([run.scores for run in runs], [run.weights for run in runs]) for runs in every],
    )
