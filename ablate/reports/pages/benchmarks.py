"""Every candidate's scores by benchmark beside what it is held against."""

from collections.abc import Iterator, Mapping
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


class Benchmarks(Mapping[CandidateResult, list[Benchmark]]):
    """The scored candidates, each with a row a task that was asked, in the suite's order.

    What is resampled is so of all at once; rows are made as they are asked for.
    """

    def __init__(self, study: StudyResult) -> None:
        self._board = board = study.scoreboard
        self._references = {each: study.reference(each) for each in board.candidates}
        asked = np.array([task for task, _ in board.questions])
        self._columns = {
            task: columns for task in study.tasks if len(columns := np.flatnonzero(asked == task))
        }
        pairs = list(self._references.items())
        for task in self._columns:  # both at once, of draws that may not be kept
            board.score(board.candidates[0], (task,))
            board.differences(pairs, (task,))

    def __len__(self) -> int:
        return len(self._references)

    def __iter__(self) -> Iterator[CandidateResult]:
        return iter(self._references)

    def __getitem__(self, candidate: CandidateResult) -> list[Benchmark]:
        board, reference = self._board, self._references[candidate]
        fixed = broken = None
        if reference in self._references:
            right, before = (board.right(each) >= 0.5 for each in (candidate, reference))
            counts = (board.weights(candidate) > 0.0) | (board.weights(reference) > 0.0)
            fixed, broken = right & ~before & counts, before & ~right & counts
        return [
            Benchmark(
                task,
                len(columns),
                board.score(candidate, (task,)),
                board.difference(candidate, reference, (task,)),
                None if fixed is None else int(fixed[columns].sum()),
                None if broken is None else int(broken[columns].sum()),
            )
            for task, columns in self._columns.items()
        ]
