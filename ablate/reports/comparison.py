"""Two candidates side by side, of one study or of two: settings, scores, answers, fairness."""

import re
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from ablate.errors import UserError, nearest
from ablate.reports import fairness
from ablate.reports.flips import Flips, by_benchmark, flipped
from ablate.reports.frame import estimate, framed, of_these_runs, typed
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.scoreboard import Scoreboard
from ablate.reports.significance import covered, unread
from ablate.stats.intervals import Interval

BASE, BEST = "base", "best"
"""Words for two candidates of any study, whose names may be long."""


def candidate(study: StudyResult, name: str) -> CandidateResult:
    """The candidate of that name, or `base` or `best`. UserError where there is none, or no score.

    A short name, as in the table of a search (`+ sam-micro@64`, `sam-micro`), will do where it is
    of one candidate alone. Two are compared by their answers.
    """
    named = {short: candidate for short, candidate in _short(study).items() if candidate}
    named |= {candidate.name: candidate for candidate in reversed(study.candidates)}
    named |= {BASE: study.base, **({BEST: study.best} if study.best else {})} | named
    if name not in named:
        raise UserError(f"{study.name} has no candidate '{name}'{nearest(name, named)}")
    if not named[name].answered:
        raise UserError(f"{name} of {study.name} is not scored ({named[name].status})")
    return named[name]


def _short(study: StudyResult) -> dict[str, CandidateResult | None]:
    """Candidates by their short names, with and without `+` and resolutions; None for several."""
    named: dict[str, CandidateResult | None] = {}
    for candidate in study.candidates:
        label = study.label(candidate)
        added = label.removeprefix("+ ")
        for name in {label, added, re.sub(r"@\d+", "", label), re.sub(r"@\d+", "", added)}:
            named[name] = candidate if named.get(name, candidate) is candidate else None
    return named


def _named(pair: tuple[StudyResult, CandidateResult]) -> tuple[str, str]:
    study, candidate = pair
    return study.name, candidate.name


@dataclass(frozen=True)
class Comparison:
    """From candidate `a` of study `of_a` to candidate `b` of study `of_b`, often the same one.

    UserError where they have no question in common.
    """

    of_a: StudyResult
    a: CandidateResult
    of_b: StudyResult
    b: CandidateResult

    def __post_init__(self) -> None:
        if not self.board.questions:
            raise UserError(f"{self.a.name} and {self.b.name} have no question in common")

    @cached_property
    def board(self) -> Scoreboard:
        """The study's own, so that numbers are those of its tables; of two studies one of both."""
        return self.of_a.scoreboard if self.of_a is self.of_b else self._both

    @property
    def _both(self) -> Scoreboard:
        runs = {**self.of_a.replicates, **self.of_b.replicates}
        same = self.of_a.floors == self.of_b.floors
        return Scoreboard([self.a, self.b], runs, self.of_a.floors if same else None)

    @property
    def notes(self) -> list[str]:
        """What the intervals cover, and how many answers of the two were not read."""
        both = {(self.of_a, self.a), (self.of_b, self.b)}
        return [
            *covered(self.board),
            *(
                line
                for study, candidate in sorted(both, key=_named)
                for line in unread(study, candidate)
            ),
        ]

    @cached_property
    def difference(self) -> Interval:
        """The composite of `b` minus that of `a`, over the questions both answered."""
        difference = self.board.difference(self.b, self.a)
        assert difference is not None
        return difference

    @cached_property
    def flips(self) -> Flips:
        """The questions that `b` fixed and broke."""
        return flipped(self.board, self.a, self.b)

    @cached_property
    def findings(self) -> list[fairness.Finding]:
        """In what they differ beyond what their studies vary."""
        varies = {*self.of_a.strategy.varies, *self.of_b.strategy.varies}
        return fairness.among([self.a, self.b], sorted(varies), "these two")

    def settings(self) -> pd.DataFrame:
        """A row a setting in which they differ, by its dotted path."""
        before, after = fairness.settings(self.a), fairness.settings(self.b)
        rows = [
            {"setting": path, "a": before.get(path), "b": after.get(path)}
            for path in dict.fromkeys([*before, *after])
            if before.get(path) != after.get(path)
        ]
        return framed(rows, ["setting", "a", "b"])

    def benchmarks(self) -> pd.DataFrame:
        """A row a benchmark and one for their mean: both scores, the difference, flips.

        `p` is corrected over the benchmarks; that of the mean is one comparison of its own.
        """
        titles = {**self.of_b.tasks, **self.of_a.tasks}
        frame = by_benchmark(self.board, self.a, self.b, titles)
        mean = {
            "benchmark": "mean",
            "questions": self.flips.asked,
            "fixed": len(self.flips.fixed),
            "broken": len(self.flips.broken),
            **estimate("delta", self.difference),
            "p": self.difference.p,
            "mcnemar": self.flips.mcnemar,
        }
        whole = pd.concat([frame, framed([mean], [])], ignore_index=True)
        scores = self.board.drawn().here
        for column, (name, scored) in enumerate((("a", self.a), ("b", self.b)), start=2):
            tasks = [self.board.drawn((task,)).here for task in titles if task in self.board.tasks]
            at = self.board.candidates.index(scored)
            whole.insert(
                column,
                name,
                [*(float(scores_of_task[at]) for scores_of_task in tasks), float(scores[at])],
            )
        made = typed(whole)
        return made if self.board.noise else of_these_runs(made)
