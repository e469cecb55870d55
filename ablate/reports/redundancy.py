"""What each expert does in one trained mixture, from what it scores when some are masked.

Conditional utilisation rate and information gap as in arXiv 2507.03262: of expert i it is
(a - a_i) / a, where a is the score of the whole mixture and a_i that with i masked; the gap is the
largest less the smallest of them. The matrix of pairs is our own.

Intervals are over images, drawn with replacement for all masks alike; training noise is not in
them, for it is one trained mixture. Those of rates are percentiles.

Shapes: D draws, M masks.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from ablate.catalog import encoders
from ablate.cost.encoders import flops
from ablate.errors import UserError
from ablate.reports.contributions import Contributions
from ablate.reports.frame import estimate, framed
from ablate.reports.model import CandidateResult, StudyResult
from ablate.stats.bootstrap import Sample
from ablate.stats.draws import Draws
from ablate.stats.intervals import Floats, Interval
from ablate.stats.ranking import spearman
from ablate.store.masks import MaskedRun

ALL = "all"
"""What the mean over all benchmarks is called among the families."""
FEWEST = 3
"""Experts of which a rank correlation says anything."""


class Redundancy:
    """One candidate of a study under masks; `run` has its scores."""

    def __init__(self, study: StudyResult, candidate: CandidateResult, run: MaskedRun) -> None:
        self.study, self.candidate, self.run = study, candidate, run
        self.experts = list(run.experts)
        self._numbers = {kept: number for number, kept in enumerate(run.kept)}
        self._everyone = range(len(self.experts))

    @cached_property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks of each group of benchmarks, and of all of them."""
        tasks = list(dict.fromkeys(task for task, _, _ in self.run.questions))
        groups: dict[str, list[str]] = {}
        for task in tasks:
            groups.setdefault(self.study.families.get(task) or ALL, []).append(task)
        named = {name: tuple(members) for name, members in groups.items()}
        return {**named, ALL: tuple(tasks)}

    def utilisation(self, expert: int, family: str = ALL) -> Interval | None:
        """The conditional utilisation rate in per cent; None where the whole mixture scores 0."""
        drawn = self._draws[family]
        rate, rates = self._rate(drawn.here[None], expert)[0], self._rate(drawn.drawn, expert)
        return _percentiles(rate, rates)

    def gap(self, family: str = ALL) -> Interval | None:
        """The information gap in per cent, among all experts."""
        drawn = self._draws[family]

        def gaps(scores: Floats) -> Floats:
            rates = np.stack([self._rate(scores, expert) for expert in self._everyone])
            spread: Floats = rates.max(0) - rates.min(0)
            return spread

        return _percentiles(gaps(drawn.here[None])[0], gaps(drawn.drawn))

    def lost(self, *experts: int, family: str = ALL) -> Interval | None:
        """The points that the mixture loses where these are masked; None if that was not tried, and
        of none."""
        without = self._without(experts)
        if not without:
            return None
        return self._contrast({0: 1.0, without: -1.0}, family)

    def shared(self, first: int, second: int) -> Interval | None:
        """The points that masking both loses beyond what masking each one loses.

        Above zero each stands in for the other; below they need each other. None of a mixture of
        two, in which nothing would be left.
        """
        both = self._without((first, second))
        without_first, without_second = self._without((first,)), self._without((second,))
        if both is None or without_first is None or without_second is None:
            return None
        return self._contrast({0: -1.0, both: -1.0, without_first: 1.0, without_second: 1.0}, ALL)

    def score(self, number: int) -> Interval:
        """The composite under the mask of this number."""
        return self._draws[ALL].scores().interval(number)

    @property
    def best_part(self) -> int | None:
        """The number of the mask that scores most, the whole mixture aside."""
        parts = self._draws[ALL].here[1:]
        return int(parts.argmax()) + 1 if len(parts) else None

    def flops_saved(self, number: int) -> float | None:
        """The share of the encoders' FLOPs that would not be needed, in per cent."""
        try:
            costs = [flops(encoders.resolve(title)) for title in self.experts]
        except UserError:  # an encoder that is no longer known here
            return None
        return 100.0 * (1 - sum(costs[expert] for expert in self.run.kept[number]) / sum(costs))

    def trained_without(self, expert: int) -> Interval | None:
        """What the mixture is ahead of the one trained without the expert, if the study has it."""
        game = Contributions(self.study)
        title = self.experts[expert]
        whole = frozenset(self.candidate.encoders) - frozenset(game.base)
        other = game.trained.get(whole - {title})
        if title not in whole or other is None or game.trained.get(whole) is not self.candidate:
            return None
        return self.study.scoreboard.difference(self.candidate, other)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of what masking an expert loses and training without it; None of fewer than
        `FEWEST` experts."""
        pairs = [(self.lost(expert), self.trained_without(expert)) for expert in self._everyone]
        known = [(a.estimate, b.estimate) for a, b in pairs if a and b]
        if len(known) < FEWEST:
            return None
        masked, trained = np.array(known).T
        return spearman(masked, trained)

    @cached_property
    def _draws(self) -> Mapping[str, Draws]:
        """By family."""
        tasks, _, images = zip(*self.run.questions, strict=True)
        scored = [
            (np.array(scores), np.array(weights))
            for scores, weights in zip(self.run.scores, self.run.weights, strict=True)
        ]
        sample = Sample(images, tasks, scored)
        return {name: sample.only(members).draw() for name, members in self.families.items()}

    def _contrast(self, shares: Mapping[int, float], family: str) -> Interval:
        row = np.zeros((1, len(self.run.kept)))
        for number, share in shares.items():
            row[0, number] += share
        return self._draws[family].contrasts(row).interval(0)

    def _without(self, experts: Sequence[int]) -> int | None:
        kept = tuple(number for number in self._everyone if number not in experts)
        return self._numbers.get(kept)

    def _rate(self, scores: Floats, expert: int) -> Floats:
        """(D,M) -> (D,) in per cent, 0 where the whole mixture scores nothing."""
        without = self._without((expert,))
        whole = scores[:, 0]
        part = np.zeros_like(whole) if without is None else scores[:, without]
        rate: Floats = np.divide(
            100.0 * (whole - part), whole, out=np.zeros_like(whole), where=whole > 0
        )
        return rate


def _percentiles(value: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))


def expert_table(redundancy: Redundancy) -> pd.DataFrame:
    """A row an expert: the points that are lost where it is `masked`, its rate of use over all
    benchmarks, and what the mixture is ahead of the one `trained` without it."""
    rows = [
        {
            "expert": title,
            **estimate("masked", redundancy.lost(expert)),
            **estimate("used", redundancy.utilisation(expert)),
            **estimate("trained", redundancy.trained_without(expert)),
        }
        for expert, title in enumerate(redundancy.experts)
    ]
    return framed(rows, ["expert", "masked", "used", "trained"])


def rate_table(redundancy: Redundancy) -> pd.DataFrame:
    """A row an expert and family of benchmarks: the conditional utilisation rate."""
    rows = [
        {
            "expert": title,
            "family": family,
            **estimate("used", redundancy.utilisation(expert, family)),
        }
        for expert, title in enumerate(redundancy.experts)
        for family in redundancy.families
    ]
    return framed(rows, ["expert", "family", "used"])


def gap_table(redundancy: Redundancy) -> pd.DataFrame:
    """A row a family of benchmarks: the information gap."""
    rows = [
        {"family": family, **estimate("gap", redundancy.gap(family))}
        for family in redundancy.families
    ]
    return framed(rows, ["family", "gap"])


def pair_table(redundancy: Redundancy) -> pd.DataFrame:
    """A row two experts: the points that masking both loses beyond what masking each loses."""
    numbers = range(len(redundancy.experts))
    rows = [
        {
            "expert": redundancy.experts[first],
            "other": redundancy.experts[second],
            **estimate("together", redundancy.shared(first, second)),
        }
        for first in numbers
        for second in numbers
        if first < second
    ]
    return framed(rows, ["expert", "other", "together"])


def part_table(redundancy: Redundancy) -> pd.DataFrame:
    """A row a mask, the best score first: what it keeps, scores, loses, and saves."""
    rows = [
        {
            "kept": " + ".join(redundancy.experts[expert] for expert in kept),
            **estimate("score", redundancy.score(number)),
            **estimate("masked", redundancy.lost(*_masked(redundancy, kept))),
            "saved_flops": redundancy.flops_saved(number),
        }
        for number, kept in enumerate(redundancy.run.kept)
    ]
    frame = framed(rows, ["kept", "score", "masked", "saved_flops"])
    return frame.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _masked(redundancy: Redundancy, kept: Sequence[int]) -> list[int]:
    return [number for number in range(len(redundancy.experts)) if number not in kept]


def summary(redundancy: Redundancy) -> str:
    """The best sub-mixture, what it saves and how sure it is, in a sentence."""
    number = redundancy.best_part
    if number is None:
        return "A mixture of one expert has no part to be scored."
    kept = redundancy.run.kept[number]
    behind = redundancy.lost(*_masked(redundancy, kept))
    assert behind is not None
    saved = redundancy.flops_saved(number)
    ahead = -behind.estimate
    named = " + ".join(redundancy.experts[expert] for expert in kept)
    sure = "which these answers do not tell from none" if behind.tie else "more than chance"
    cost = "" if saved is None else f" and saves {saved:.0f} % of the encoders' FLOPs"
    return (
        f"The best part, {named}, scores {ahead:+.1f} points beside the whole mixture ({sure})"
        f"{cost}. It was chosen by the same answers, so a little of its score is luck."
    )


def correlation(redundancy: Redundancy) -> str:
    """How well masking foretells what training without an expert comes to, in a sentence."""
    if (rank := redundancy.rank_correlation) is None:
        return (
            f"Fewer than {FEWEST} experts have a mixture of this study that was trained without "
            "them: how well masking foretells that is not known."
        )
    return f"Rank correlation of masking an expert and training without it: {rank:+.2f}."
