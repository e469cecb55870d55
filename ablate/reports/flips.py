"""What changed in the answers between two candidates: the questions fixed, and those broken.

A question counts as right from half of its score on (a mean over seeds where there are several).
One that weighs nothing in its task's metric with either answer is asked, but never flipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from ablate.reports.frame import estimate, framed, of_these_runs
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.scoreboard import Scoreboard
from ablate.stats.significance import holm
from ablate.store.answers import Key


@dataclass(frozen=True)
class Flips:
    """From `before` to `after`: the questions it fixed and broke, and the chance of as many.

    `mcnemar`: McNemar's exact test (two-sided binomial), as if every question had an image of its
    own; where they share images, trust the interval of the difference instead.
    """

    asked: int
    fixed: tuple[Key, ...]
    broken: tuple[Key, ...]

    @property
    def mcnemar(self) -> float:
        """The p-value of as uneven a split of the flipped questions, if a coin decided each."""
        flipped, fewer = len(self.fixed) + len(self.broken), min(len(self.fixed), len(self.broken))
        return min(1.0, 2.0 * float(bdtr(fewer, flipped, 0.5))) if flipped else 1.0


def flipped(
    board: Scoreboard, before: CandidateResult, after: CandidateResult, task: str | None = None
) -> Flips:
    """What `after` fixed and broke against `before`, in one `task` or (default) in all."""
    if before not in board.runs or after not in board.runs:
        return Flips(0, (), ())
    asked = np.array([task in (None, other) for other, _ in board.questions])
    counted = asked & (board.weights(before) + board.weights(after) > 0.0)
    then, now = board.right(before) >= 0.5, board.right(after) >= 0.5

    def chosen(which: Any) -> tuple[Key, ...]:
        return tuple(board.questions[int(index)] for index in np.flatnonzero(which & counted))

    return Flips(int(asked.sum()), chosen(now & ~then), chosen(then & ~now))


def rows(
    board: Scoreboard, before: CandidateResult, after: CandidateResult, keys: Sequence[Key]
) -> list[dict[str, Any]]:
    """The questions with truth and both answers (of the first run), to be read."""
    index_of = {key: index for index, key in enumerate(board.questions)}
    then, now = (board.runs[candidate][0].rows for candidate in (before, after))
    return [_row(then[index_of[key]], now[index_of[key]]) for key in keys]


def _row(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    shared = {name: then[name] for name in ("task", "id", "image", "question", "truth")}
    return {**shared, "before": then["answer"], "after": now["answer"]}


def flips(
    study: StudyResult,
    before: CandidateResult | None = None,
    after: CandidateResult | None = None,
) -> pd.DataFrame:
    """`by_benchmark` of two candidates of a study; by default of its base and its best."""
    first, second = before or study.base, after or study.best or study.base
    return by_benchmark(study.scoreboard, first, second, study.tasks)


def by_benchmark(
    board: Scoreboard, before: CandidateResult, after: CandidateResult, titles: Mapping[str, str]
) -> pd.DataFrame:
    """A row a benchmark, in the order of `titles`: questions, those fixed and broken, the
    difference, `p` corrected over the benchmarks, and McNemar's, which is not.
    """
    tasks = [task for task in titles if task in board.tasks]
    deltas = [board.difference(after, before, (task,)) for task in tasks]
    corrected = holm([delta.p if delta else np.nan for delta in deltas])
    rows = []
    for task, delta, p in zip(tasks, deltas, corrected, strict=True):
        flips = flipped(board, before, after, task)
        rows.append(
            {
                "benchmark": titles[task],
                "questions": flips.asked,
                "fixed": len(flips.fixed),
                "broken": len(flips.broken),
                **estimate("delta", delta),
                "p": p if delta else None,
                "mcnemar": flips.mcnemar,
            }
        )
    frame = framed(rows, ["benchmark", "questions", "fixed", "broken", "delta", "p", "mcnemar"])
    return frame if all(map(board.measured, tasks)) else of_these_runs(frame)
