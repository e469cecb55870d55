"""What each expert adds to a mixture, from the mixtures that were trained and from these alone.

Mixtures are coalitions of experts over the base, which is in all of them; what is compared differs
in its encoders only. A Shapley value (Shapley, A value for n-person games, 1953) weighs what an
expert adds to every subset of the others. A search trains only some of these subsets, so the value
of most games is not known: then it is said which mixtures are wanting, and between what bounds the
value lies if each of them scored within the range of those that were trained. Nothing is fitted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd

from ablate.reports.frame import estimate, framed, of_these_runs
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.scoreboard import Scoreboard, Tasks
from ablate.stats.intervals import Interval
from ablate.stats.significance import ALPHA, holm

Coalition = frozenset[str]
Shares = Mapping[CandidateResult, float]
MOST = 12
"""Experts of a game at most: it has 2 to their number of mixtures."""


@dataclass(frozen=True)
class Shapley:
    """The Shapley value of one expert among the experts `game`, the base aside.

    `value`: with its interval where all mixtures of the game were trained. Else it lies between
    `bounds` if every mixture that `wants` names scored within the range of the trained ones.
    """

    game: tuple[str, ...]
    value: Interval | None
    bounds: tuple[float, float] | None
    wants: tuple[str, ...]


class Contributions:
    """The experts of a study as players, and the mixtures that were trained of them."""

    def __init__(self, study: StudyResult) -> None:
        self._study, self._board = study, study.scoreboard
        base = study.base
        alike = [
            candidate
            for candidate in study.candidates
            if candidate.answered and _apart_from_encoders(candidate) == _apart_from_encoders(base)
        ]
        self.base = tuple(
            name for name in base.encoders if all(name in candidate.encoders for candidate in alike)
        )
        self.trained: dict[Coalition, CandidateResult] = {}
        for candidate in alike:
            self.trained.setdefault(frozenset(candidate.encoders) - frozenset(self.base), candidate)

    @cached_property
    def experts(self) -> list[str]:
        """Every expert beyond the base, in the order in which the study meets them."""
        names = (
            name for mixture_result in self.trained.values() for name in mixture_result.encoders
        )
        return [name for name in dict.fromkeys(names) if name not in self.base]

    @cached_property
    def best(self) -> Coalition:
        """The experts of the best mixture."""
        scored = self.trained.items()
        return max(scored, key=lambda item: item[1].composite or 0.0)[0] if scored else frozenset()

    def contexts(self, *experts: str) -> list[Coalition]:
        """The trained mixtures to which these were added, one by one and all, in trained ones."""
        joint = frozenset(experts)
        return [
            others
            for others in self.trained
            if not joint & others
            and all(others | frozenset(part) in self.trained for part in _subsets(experts))
        ]

    def added(self, expert: str, tasks: Tasks = None) -> Interval | None:
        """What the expert adds, a mean over all trained mixtures with and without it."""
        contexts = self.contexts(expert)
        return self._mean([self._signs(others, (expert,)) for others in contexts], tasks)

    def last(self, expert: str) -> Interval | None:
        """Leave one out: the best mixture less the same without the expert, if that was trained."""
        without = self.best - {expert}
        if expert not in self.best or without not in self.trained:
            return None
        return self._mean([self._signs(without, (expert,))])

    def shapley(self, expert: str) -> Shapley | None:
        """Its value among the experts of the best mixture and itself; None if they are too many."""
        game = sorted(self.best | {expert}, key=self.experts.index)
        if len(game) > MOST:
            return None
        shares: dict[Coalition, float] = {}
        for part in _subsets([name for name in game if name != expert]):
            others, n = frozenset(part), len(game)
            share = factorial(len(part)) * factorial(n - len(part) - 1) / factorial(n)
            shares[others], shares[others | {expert}] = -share, share
        wanting = [subset for subset in shares if subset not in self.trained]
        known = {subset: share for subset, share in shares.items() if subset in self.trained}
        names = tuple(self.mixture(subset) for subset in wanting)
        if not wanting:
            mean = self._mean([{self.trained[subset]: share for subset, share in known.items()}])
            return Shapley(tuple(game), mean, None, ())
        scores = {subset: result.composite or 0.0 for subset, result in self.trained.items()}
        least, most = min(scores.values()), max(scores.values())
        sure = sum(share * scores[subset] for subset, share in known.items())
        low = sum(min(shares[subset] * least, shares[subset] * most) for subset in wanting)
        high = sum(max(shares[subset] * least, shares[subset] * most) for subset in wanting)
        return Shapley(tuple(game), None, (sure + low, sure + high), names)

    def interaction(self, first: str, second: str) -> Interval | None:
        """What the two add together beyond what each adds alone; None where no mixture tells.

        Above zero they complement each other, below they duplicate. A mean over trained mixtures.
        """
        pair = (first, second)
        return self._mean([self._signs(others, pair) for others in self.contexts(*pair)])

    def overlap(self, first: str, other: str) -> float | None:
        """How alike the questions are that the two fix, each added to the same trained mixture.

        The correlation (phi) of "fixed by one" and "fixed by the other" over the questions that
        this mixture, the smallest there is, got wrong. None where no such two were trained.
        """
        shared = set(self.contexts(first)) & set(self.contexts(other))
        if not shared:
            return None
        others = min(shared, key=lambda names: (len(names), sorted(names)))
        before, a, b = (
            self._board.right(self.trained[names])
            for names in (others, others | {first}, others | {other})
        )
        wrong = before < 0.5
        fixes = [(right[wrong] >= 0.5).astype(np.float64) for right in (a, b)]
        if not wrong.any() or not all(fixed.std() for fixed in fixes):
            return None
        a_fixes, b_fixes = (fixed - fixed.mean() for fixed in fixes)
        return float(a_fixes @ b_fixes / np.sqrt((a_fixes @ a_fixes) * (b_fixes @ b_fixes)))

    def mixture(self, names: Coalition) -> str:
        """The base and these experts, as a mixture is written."""
        return "+".join([*self.base, *sorted(names, key=self.experts.index)])

    def _signs(self, others: Coalition, experts: tuple[str, ...]) -> Shares:
        """The mixtures of `others` with each subset of `experts`, plus or minus by how many."""
        return {
            self.trained[others | frozenset(part)]: (-1.0) ** (len(experts) - len(part))
            for part in _subsets(experts)
        }

    def _mean(self, several: list[Shares], tasks: Tasks = None) -> Interval | None:
        total: dict[CandidateResult, float] = {}
        for shares in several:
            for candidate, share in shares.items():
                total[candidate] = total.get(candidate, 0.0) + share / len(several)
        return self._board.contrast(total, tasks) if total else None


def _subsets(names: Iterable[str]) -> list[tuple[str, ...]]:
    every = tuple(names)
    return [part for size in range(len(every) + 1) for part in combinations(every, size)]


def _apart_from_encoders(candidate: CandidateResult) -> dict[str, object]:
    return {name: value for name, value in candidate.config.items() if name != "encoders"}


def contributions(study: StudyResult) -> pd.DataFrame:
    """A row an expert: what it `added`, a mean over so many `mixtures`; `last`: to the best one.

    `shapley` is its value in the game of the best mixture's experts and itself where the trained
    mixtures tell; else it lies between `shapley_least` and `shapley_most` if those it `wants`
    scored within the range of the trained ones.
    """
    game, rows = Contributions(study), []
    for expert in game.experts:
        added, last, value = game.added(expert), game.last(expert), game.shapley(expert)
        known, bounds = (value.value, value.bounds) if value else (None, None)
        rows.append(
            {
                "expert": expert,
                **estimate("added", added),
                "mixtures": len(game.contexts(expert)),
                **estimate("last", last),
                **estimate("shapley", known),
                "shapley_least": bounds[0] if bounds else None,
                "shapley_most": bounds[1] if bounds else None,
                "wants": ", ".join(value.wants) if value else f"more than {MOST} experts",
            }
        )
    return framed(rows, ["expert", "added", "mixtures", "last", "shapley", "wants"])


def moves(study: StudyResult) -> pd.DataFrame:
    """A row an expert and benchmark: what it `added` there, `p` corrected over the benchmarks."""
    game, rows = Contributions(study), []
    for expert in game.experts:
        added = {task: game.added(expert, (task,)) for task in study.scoreboard.tasks}
        known = {task: interval for task, interval in added.items() if interval}
        for (task, interval), p in zip(
            known.items(), holm([interval.p for interval in known.values()]), strict=True
        ):
            title = study.tasks.get(task, task)
            rows.append(
                {"expert": expert, "benchmark": title, **estimate("added", interval), "p": p}
            )
    frame, board = framed(rows, ["expert", "benchmark", "added", "p"]), study.scoreboard
    return frame if all(map(board.measured, board.tasks)) else of_these_runs(frame)


def pairs(study: StudyResult) -> pd.DataFrame:
    """A row two experts: what they add `together` beyond each alone, `p` corrected over the pairs,
    and the `overlap` of what they fix. `verdict`: complement, duplicate, or that it is not told.
    """
    game = Contributions(study)
    every = list(combinations(game.experts, 2))
    together = [game.interaction(*pair) for pair in every]
    corrected = holm([interval.p if interval else np.nan for interval in together])
    rows = [
        {
            "expert": pair[0],
            "other": pair[1],
            **estimate("together", interval),
            "p": p if interval else None,
            "overlap": game.overlap(*pair),
            "verdict": _verdict(study.scoreboard, interval, p),
        }
        for pair, interval, p in zip(every, together, corrected, strict=True)
    ]
    frame = framed(rows, ["expert", "other", "together", "p", "overlap", "verdict"])
    return frame if study.scoreboard.noise else of_these_runs(frame)


def _verdict(board: Scoreboard, interval: Interval | None, p: float) -> str:
    if interval is None:
        return "not trained together"
    if p >= ALPHA:
        return "not told from none"
    verdict = "complement" if interval.estimate > 0 else "duplicate"
    return verdict if board.is_clear(p) else f"{verdict} in these runs"
