"""Every candidate's scores by benchmark beside what it is held against, all worked out at once."""

from typing import NamedTuple

import numpy as np

from ablate.evaluate.statistics import Interval
from reports.model import CandidateResult, StudyResult


class Benchmark(NamedTuple):
    """A candidate on one benchmark; the last three are None where it is held against nothing."""

    task: str
    questions: int
    score: Interval | None
    delta: Interval | None
    fixed: int | None
    broken: int | None


def benchmarks(study: StudyResult) -> dict[CandidateResult, list[Benchmark]]:
    """The scored candidates, each with a row a task that was asked."""
    board = study.scoreboard
    asked = np.array([task for task, _ in board.questions])
    columns = {task: np.flatnonzero(asked == task) for task in board.tasks}
    pairs = [(one, study.reference(one)) for one in board.candidates]
    deltas = {task: board.differences(pairs, (task,)) for task in columns}
    right = {one: board.right(one) >= 0.5 for one in board.candidates}
    found = {}
    for place, (one, reference) in enumerate(pairs):
        now, then = right[one], right.get(reference) if reference else None
        found[one] = [
            Benchmark(
                task,
                len(own),
                board.score(one, (task,)),
                deltas[task][place],
                None if then is None else int((now & ~then)[own].sum()),
                None if then is None else int((then & ~now)[own].sum()),
            )
            for task, own in columns.items()
        ]
    return found
