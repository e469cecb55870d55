"""Every candidate's scores by benchmark beside what it is held against, all worked out at once."""

from typing import NamedTuple

import numpy as np

from ablate.reports.model import CandidateResult, StudyResult
from ablate.stats.bootstrap import Interval


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
    columns = {task: own for task in study.tasks if len(own := np.flatnonzero(asked == task))}
    pairs = [(one, study.reference(one)) for one in board.candidates]
    deltas = {task: board.differences(pairs, (task,)) for task in columns}
    right = {one: board.right(one) >= 0.5 for one in board.candidates}
    weighs = {one: board.weights(one) > 0.0 for one in board.candidates}
    found = {}
    for place, (one, reference) in enumerate(pairs):
        fixed = broken = None
        if reference is not None and reference in right:
            counts = weighs[one] | weighs[reference]
            fixed = right[one] & ~right[reference] & counts
            broken = right[reference] & ~right[one] & counts
        found[one] = [
            Benchmark(
                task,
                len(own),
                board.score(one, (task,)),
                deltas[task][place],
                None if fixed is None else int(fixed[own].sum()),
                None if broken is None else int(broken[own].sum()),
            )
            for task, own in columns.items()
        ]
    return found
