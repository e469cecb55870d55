"""How sure the scores of a study are: every candidate on the same questions, resampled together.

All intervals and p-values of a report come from here, and so agree to the digit wherever they are
shown; what they mean is in `ablate.stats.bootstrap`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from ablate.catalog.noise_floors import COMPOSITE, Floors
from ablate.stats.bootstrap import Sample
from ablate.stats.draws import Draws
from ablate.stats.intervals import Estimates, Floats, Interval, Numbered
from ablate.stats.noise import Noise
from ablate.stats.significance import ALPHA, SplitHalf, halves
from ablate.store.answers import Answers, Key, Replicates, repeated_sample

if TYPE_CHECKING:
    from ablate.reports.model import CandidateResult

    Pair = tuple[CandidateResult, CandidateResult | None]

Tasks = tuple[str, ...] | None
"""The tasks whose mean is meant; None: all."""


KEPT = 2**27
"""Bytes of draws beyond which those of single tasks are dropped."""


class Scoreboard:
    """The candidates that are scored, on the questions that all of them answered.

    Within a study these are all questions. Differences and intervals are in points, 0..100; None
    where a candidate is not scored.
    """

    def __init__(
        self,
        candidates: "Iterable[CandidateResult]",
        replicates: Replicates | None = None,
        floors: Floors | None = None,
    ) -> None:
        """For training noise: `replicates`, runs of others that differ in their seed alone, and
        `floors`, what was measured elsewhere, of these tasks."""
        self.candidates = [candidate for candidate in candidates if candidate.answered]
        self._replicates, self._floors = replicates or {}, floors or {}
        self._index: dict[CandidateResult | None, int] = {
            candidate: index for index, candidate in enumerate(self.candidates)
        }
        self._draws: dict[Tasks, Draws] = {}
        self._scores: dict[Tasks, Estimates] = {}
        self._pairs: dict[Pair, int] = {}  # by which a difference is known, whatever its tasks
        self._differences: dict[Tasks, Numbered] = {}

    @property
    def questions(self) -> Sequence[Key]:
        """The questions that every candidate answered in every run, in order."""
        return self.runs[self.candidates[0]][0].questions if self.candidates else []

    @cached_property
    def runs(self) -> "dict[CandidateResult, Sequence[Answers]]":
        """Each candidate's training runs on `questions`."""
        every = [run for candidate in self.candidates for run in candidate.runs]
        if all(run.questions == every[0].questions for run in every):
            return {candidate: candidate.runs for candidate in self.candidates}
        common = sorted(set.intersection(*(set(run.questions) for run in every)))
        return {
            candidate: [run.only(common) for run in candidate.runs] for candidate in self.candidates
        }

    @property
    def tasks(self) -> list[str]:
        """The tasks that were asked."""
        return list(dict.fromkeys(task for task, _ in self.questions))

    @cached_property
    def sample(self) -> Sample:
        """The questions and scores as what is resampled."""
        return Sample(
            self.runs[self.candidates[0]][0].images,
            [task for task, _ in self.questions],
            [
                (self._column(candidate, "scores"), self._column(candidate, "weights"))
                for candidate in self.candidates
            ],
        )

    @property
    def noise(self) -> Noise | None:
        """Training noise of a composite; None where nobody has measured it.

        Then intervals and p-values are of the runs that there are.
        """
        return self.noise_of(None)

    def noise_of(self, tasks: Tasks) -> Noise | None:
        """The same of the mean over some tasks."""
        return self.drawn(tasks).noise if self.questions else None

    @cached_property
    def sizes(self) -> list[int]:
        """How many runs a candidate has, each number once, ascending."""
        return sorted({len(candidate.runs) for candidate in self.candidates})

    def measured(self, task: str) -> bool:
        """Whether training noise of a task is known."""
        several = any(size > 1 for size in self.sizes)
        return several or self._others is not None or task in self._floors

    def is_clear(self, p: float | None, tasks: Tasks = None) -> bool:
        """Whether a difference with this (corrected) p is more than chance, training's included."""
        return p is not None and p < ALPHA and self.noise_of(tasks) is not None

    def right(self, candidate: "CandidateResult") -> Floats:
        """How right the candidate is on each of `questions`, in 0..1: a mean over its runs."""
        mean: Floats = self._column(candidate, "scores").mean(0)
        return mean

    def weights(self, candidate: "CandidateResult") -> Floats:
        """How much each of `questions` weighs in its task's metric, a mean over the runs."""
        mean: Floats = self._column(candidate, "weights").mean(0)
        return mean

    def score(self, candidate: "CandidateResult", tasks: Tasks = None) -> Interval | None:
        """The composite of a candidate."""
        if candidate not in self._index or not self.questions:
            return None
        if tasks not in self._scores:
            self._scores[tasks] = self.drawn(tasks).scores()
        return self._scores[tasks].interval(self._index[candidate])

    def difference(
        self, candidate: "CandidateResult", other: "CandidateResult | None", tasks: Tasks = None
    ) -> Interval | None:
        """`candidate` minus `other`."""
        return self.differences([(candidate, other)], tasks)[0]

    def differences(
        self,
        pairs: "Sequence[Pair]",
        tasks: Tasks = None,
    ) -> list[Interval | None]:
        """The first of each pair minus the second."""
        known = self._differences.setdefault(tasks, Numbered())
        numbers = [self._number(pair) for pair in pairs]
        new = {
            number: pair
            for number, pair in zip(numbers, pairs, strict=True)
            if number is not None and number not in known
        }
        if new:
            plus, minus = ([self._index[pair[side]] for pair in new.values()] for side in (0, 1))
            known.add(list(new), self.drawn(tasks).differences(plus, minus))
        return [None if number is None else known.interval(number) for number in numbers]

    def _number(self, pair: "Pair") -> int | None:
        """The same of a pair whatever its tasks; None where a side is not scored."""
        if not self.questions or any(side not in self._index for side in pair):
            return None
        return self._pairs.setdefault(pair, len(self._pairs))

    def behind_best(self, several: "Sequence[CandidateResult]") -> list[float | None]:
        """The p of each of being as good as the best of them (see `Draws.behind_best`)."""
        indices = [self._index.get(candidate) for candidate in several]
        known = [index for index in indices if index is not None]
        if not known or not self.questions:
            return [None] * len(several)
        made = iter(self.drawn().behind_best(known).tolist())
        return [None if index is None else next(made) for index in indices]

    def contrast(
        self, shares: "Mapping[CandidateResult, float]", tasks: Tasks = None
    ) -> Interval | None:
        """The sum of composites, each times its share; None if one of them is not scored."""
        if not self.questions or any(candidate not in self._index for candidate in shares):
            return None
        row = np.zeros((1, len(self.candidates)))
        for candidate, share in shares.items():
            row[0, self._index[candidate]] = share
        return self.drawn(tasks).contrasts(row).interval(0)

    def halves(
        self, rivals: "Sequence[CandidateResult]", reference: "CandidateResult"
    ) -> SplitHalf | None:
        """What choosing among `rivals` is worth on images that had no part in it."""
        indices = [self._index[candidate] for candidate in rivals if candidate in self._index]
        if len(indices) < 2 or reference not in self._index or self.sample.images < 4:
            return None
        return halves(self.sample, indices, self._index[reference])

    def drawn(self, tasks: Tasks = None) -> Draws:
        """The candidates' composites over `tasks`, resampled once; of few tasks of very many
        candidates again, where others were drawn since."""
        if tasks not in self._draws:
            if sum(draws.nbytes for draws in self._draws.values()) > KEPT:
                self._draws = {None: self._draws[None]} if None in self._draws else {}
            sample, others = self.sample, self._others
            if tasks is not None:
                sample, others = sample.only(tasks), others and others.only(tasks)
            (name,) = tasks if tasks and len(tasks) == 1 else (COMPOSITE if not tasks else "",)
            self._draws[tasks] = sample.draw(replicates=others, floors=self._floors.get(name, ()))
        return self._draws[tasks]

    @cached_property
    def _others(self) -> Sample | None:
        """The replicates on `questions`; None where there are none."""
        return repeated_sample(self._replicates, self.questions)

    def _column(self, candidate: "CandidateResult", name: Literal["scores", "weights"]) -> Floats:
        """A field of the candidate's runs, (runs, questions)."""
        return np.array([getattr(run, name) for run in self.runs[candidate]])
