"""Every candidate's scores by benchmark beside what it is held against, all worked out at once."""

from typing import NamedTuple

import numpy as np

from ablate.reports.model import CandidateResult, StudyResult
from ablate.stats.intervals import Interval


class Benchmark(NamedTuple):
    """A candidate on one benchmark; the last three are None where it is held against nothing.

    `score`: its interval, None where that tells nothing.
    """

    task: str
    questions: int
    score: Interval | None
    delta: Interval | None
    fixed: int | None
    broken: int | None


def benchmarks(study: StudyResult) -> dict[CandidateResult, list[Benchmark]]:
    """The scored candidates, each with a row a task that was asked, in the suite's order."""
    board = study.scoreboard
    asked = np.array([task for task, _ in board.questions])
    columns = {
        task: columns_of_task
        for task in study.tasks
        if len(columns_of_task := np.flatnonzero(asked == task))
    }
    pairs = [(candidate, study.reference(candidate)) for candidate in board.candidates]
    scores, deltas = dict[str, list[Interval | None]](), dict[str, list[Interval | None]]()
    for task in columns:  # both at once, of draws that may not be kept
        scores[task] = [board.score(candidate, (task,)) for candidate in board.candidates]
        deltas[task] = board.differences(pairs, (task,))
    right = {candidate: board.right(candidate) >= 0.5 for candidate in board.candidates}
    weighs = {candidate: board.weights(candidate) > 0.0 for candidate in board.candidates}
    by_candidate = {}
    for index, (candidate, reference) in enumerate(pairs):
        fixed = broken = None
        if reference is not None and reference in right:
            counts = weighs[candidate] | weighs[reference]
            fixed = right[candidate] & ~right[reference] & counts
            broken = right[reference] & ~right[candidate] & counts
        by_candidate[candidate] = [
            Benchmark(
                task,
                len(columns_of_task),
                scores[task][index],
                deltas[task][index],
                None if fixed is None else int(fixed[columns_of_task].sum()),
                None if broken is None else int(broken[columns_of_task].sum()),
            )
            for task, columns_of_task in columns.items()
        ]
    return by_candidate
