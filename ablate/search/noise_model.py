"""Results drawn from a noise model: what a search would see if all of it were trained again.

A result is the truth, which a table has, and three things more, each drawn by its own random walk
so that a run is the same run whatever else is asked:

- training noise: of a run, the same from its first part to the end;
- crossing: learning curves cross, so a part of the training tells the whole with an error. Each
  halving of a stage adds as much variance as any other, independently: the variance is
  `crossing[stage] ** 2 * log2(1 / share)`. (Measured on the micro scale it is so: from half of
  fine-tuning down to a thirtieth a candidate moves by 1.7, 2.2, 2.7 and 3.5 points, by the formula
  1.6, 2.3, 2.9 and 3.5.) A candidate's runs share it: more seeds do not take it away;
- questions: the choice of them, `images ** 2 / share` where a nested share is asked.

A mixture that the table lacks has the truth that its encoders have by themselves: least squares of
an effect of each, over what is tabulated.
"""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from ablate.catalog import step_kinds
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.design.fidelity import WHOLE
from ablate.design.recipe import StageConfig
from ablate.search.tabulated import Points, Table
from ablate.stats.intervals import Floats
from ablate.store.results import Evaluation, Failure
from ablate.store.steps import Step, ancestors, steps_for

LAST, EARLIER = 0.75, 1.5
"""Crossing of a halving of the last stage, and of one before it, in deviations of a run: measured
on the micro scale, where the order is made in pre-training."""
MOST = 1024
"""Mixtures up to which all of them are looked at."""
HALVINGS = 12
"""Smaller shares than 1 / 4096 count as that."""


@dataclass(frozen=True)
class NoiseModel:
    """Standard deviations in points: of a `run`; of each halving of a stage by its name; of the
    choice of `images` beyond what candidates share. `spread`: where a table knows no truth it is
    drawn, an effect of each encoder, and half as large a one of each design.
    """

    run: float
    crossing: Mapping[str, float] = field(default_factory=dict)
    images: float = 0.0
    spread: float | None = None


def measured_noise(table: Table) -> float | None:
    """How far a table's runs of one design spread, pooled; None where none has two."""
    runs: dict[str, list[float]] = {}
    for candidate in table.candidates:
        if isinstance(result := table.result(candidate), Evaluation):
            runs.setdefault(candidate.point, []).append(result.composite)
    squares = sum(len(scores) * float(np.var(scores)) for scores in runs.values())
    freedom = sum(len(scores) - 1 for scores in runs.values())
    return math.sqrt(squares / freedom) if freedom else None


def noise_model(study: Study, run: float, spread: float | None = None) -> NoiseModel:
    """Where only the noise of a run is known: `LAST` and `EARLIER` times it for crossing."""
    *earlier, last = study.base.recipe.stages()
    crossing = {last: LAST * run, **dict.fromkeys(earlier, EARLIER * run)}
    return NoiseModel(run, crossing, spread=spread)


class NoisyTable:
    """A table of truths, and the results that training would give, with any seeds and budgets.

    `priced`: the table whose costs count; default: its own.
    """

    def __init__(
        self, table: Table, noise: NoiseModel, priced: Table | None = None, seed: int = 0
    ) -> None:
        self.table, self.noise, self.priced, self.seed = table, noise, priced or table, seed
        self._known: dict[str, tuple[int, float | Failure | None]] = {}
        self._parts: dict[str, list[tuple[Step | None, float]] | None] = {}

    @cached_property
    def everything(self) -> Sequence[Candidate]:
        """A candidate of each design that there is: of a search all mixtures, else those of the
        table."""
        study, first = self.table.study, self.table.candidates[0]
        if not self._of_mixtures:
            return list(
                {candidate.point: candidate for candidate in self.table.candidates}.values()
            )
        base, designs = study.base, study.designs
        more = [title for title in study.shelf if title not in base.encoders]
        mixtures = [design.encoders for design in designs]
        if study.explore.goes_on and 2 ** len(more) <= MOST:
            sizes = range(len(more) + 1)
            mixtures = [(*base.encoders, *some) for n in sizes for some in combinations(more, n)]
        names = ["+".join(mixture) for mixture in mixtures]
        return [
            first.model_copy(update={"encoders": mixture, "name": name, "point": name})
            for mixture, name in zip(mixtures, names, strict=True)
        ]

    @cached_property
    def _of_mixtures(self) -> bool:
        return Points(self.table.study).mixtures

    @cached_property
    def filled(self) -> list[str]:
        """Of everything those that the table lacks."""
        return [
            candidate.point for candidate in self.everything if self._tabulated(candidate) is None
        ]

    def truth(self, candidate: Candidate) -> tuple[int, float | Failure | None]:
        """The number of a design, and the mean of the table's runs of it, or how one ended; None if
        there is none. A mixture is the same in any order."""
        name = candidate.point
        if self._of_mixtures:
            name = "+".join(sorted(candidate.encoders))
        if name not in self._known:
            truth = self._tabulated(candidate)
            if truth is None and self._of_mixtures and self.noise.spread is None:
                truth = float(np.dot(self.row(candidate), self._effects))
            self._known[name] = len(self._known), truth
        return self._known[name]

    def row(self, candidate: Candidate) -> list[float]:
        """One, and which encoders of the shelf the candidate has."""
        return [1.0, *(float(expert in candidate.encoders) for expert in self._shelf)]

    @cached_property
    def _shelf(self) -> tuple[str, ...]:
        return self.table.study.shelf

    @cached_property
    def _effects(self) -> Floats:
        """What is common to all mixtures of the table, and of each encoder of the shelf."""
        rows, scores = [], []
        for candidate in self.table.candidates:
            truth = self._tabulated(candidate)
            if isinstance(truth, float):
                rows.append(self.row(candidate))
                scores.append(truth)
        effects: Floats = np.linalg.lstsq(np.array(rows), np.array(scores), rcond=None)[0]
        return effects

    def _tabulated(self, candidate: Candidate) -> float | Failure | None:
        runs = [self.table.result(self._whole(candidate, seed)) for seed in self.table.study.seeds]
        scored = [ended.composite for ended in runs if isinstance(ended, Evaluation)]
        failed = next((ended for ended in runs if isinstance(ended, Failure)), None)
        whole = sum(scored) / len(scored) if len(scored) == len(runs) else None
        return whole if failed is None else failed

    def drawn(self, number: int) -> "Repetition":
        """What the search of that number sees."""
        return Repetition(self, number)

    def hours(self, candidates: Iterable[Candidate]) -> float | None:
        """What candidates take together, what they share once; None where that is not known.

        Of a stage that was trained in part the trunk is not trained again, where its schedule
        allows that; what was asked is not asked again.
        """
        trunks: dict[Hashable, float] = {}
        branches: dict[Hashable, float] = {}
        for candidate in candidates:
            parts = self._costs(candidate)
            if parts is None:
                return None
            stages = candidate.recipe.stages()
            earlier: dict[str, float] = {}
            for step, hours in parts:
                name = step.name if step else list(stages)[-1]
                asked = candidate.fidelity.stages.get(name, 1.0)
                trunk = _trunk(stages[name], asked) if name in stages else 0.0
                if step and step.kind == step_kinds.EVALUATE:
                    asked = trunk = candidate.fidelity.questions
                before = tuple(earlier.items())
                earlier[name] = asked
                key = (step.key if step else candidate.point, candidate.seed, before)
                trunks[key] = max(trunks.get(key, 0.0), trunk * hours)
                branches[key, asked] = (asked - trunk) * hours
        return sum(trunks.values()) + sum(branches.values())

    def _whole(self, candidate: Candidate, seed: int) -> Candidate:
        return candidate.model_copy(update={"seed": seed, "fidelity": WHOLE})

    def _costs(self, candidate: Candidate) -> list[tuple[Step | None, float]] | None:
        """The hours of each step of the whole candidate, in order; of what is no step, too."""
        if candidate.point not in self._parts:
            whole = self._whole(candidate, self.table.study.seeds[0])
            costs = self.priced.costs(whole)
            steps = {step.key: step for step in ancestors(steps_for(whole, self.table.study))}
            order = {key: n for n, key in enumerate(steps)}
            ordered = sorted(costs or (), key=lambda key: order.get(key, 0))
            parts = [(steps.get(key), costs[key]) for key in ordered] if costs else None
            self._parts[candidate.point] = parts
        return self._parts[candidate.point]


def _trunk(stage: StageConfig, share: float) -> float:
    """How much of a part of a stage any longer part of it begins with."""
    return 0.0 if stage.schedule == "cosine" else share * (1.0 - (stage.decay or 0.0))


class Repetition:
    """A `Lookup` of one repetition: every result is drawn once, whatever else is asked."""

    home = None

    def __init__(self, table: NoisyTable, number: int) -> None:
        self._table, self._number = table, number
        self._normals: dict[tuple[str, int], Floats] = {}

    def truth(self, candidate: Candidate) -> float | Failure | None:
        """What its runs spread round: the table's, or drawn where that has none."""
        index, known = self._table.truth(candidate)
        spread = self._table.noise.spread
        if known is not None or spread is None:
            return known
        effects = (
            has * self._drawn("effect", 0, n) for n, has in enumerate(self._table.row(candidate))
        )
        return spread * (sum(effects) + self._drawn("design", 0, index) / 2)

    def truths(self, candidates: Iterable[Candidate]) -> dict[str, float]:
        """Of the designs of candidates that have one."""
        truths = {candidate.point: self.truth(candidate) for candidate in candidates}
        return {point: truth for point, truth in truths.items() if isinstance(truth, float)}

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        truth, (index, _) = self.truth(candidate), self._table.truth(candidate)
        if not isinstance(truth, float):
            return truth
        noise, part = self._table.noise, candidate.fidelity
        score = truth + noise.run * self._drawn("run", candidate.seed, index)
        for name, share in part.stages.items():
            moved = sum(math.sqrt(more) * drawn for more, drawn in self._walk(name, index, share))
            score += noise.crossing.get(name, 0.0) * moved
        if noise.images:
            missing = self._walk("questions", index, part.questions)
            moved = sum(math.sqrt(more * 2**n) * drawn for n, (more, drawn) in enumerate(missing))
            score += noise.images * (self._drawn("images", 0, index) + moved)
        key = f"{candidate.point}, seed {candidate.seed}, {part.words or 'whole'}"
        return Evaluation(key, {}, score, answers=None)

    def decision(self, number: int) -> dict[str, Any] | None:
        return None

    def _walk(self, name: str, index: int, share: float) -> Iterator[tuple[float, float]]:
        """Steps of a random walk, one a halving of the share: how much of a halving, and a normal
        number."""
        halvings = min(-math.log2(share), HALVINGS)
        for n in range(math.ceil(halvings)):
            yield min(1.0, halvings - n), self._drawn(name, n, index)

    def _drawn(self, name: str, number: int, index: int) -> float:
        """The normal number of that place in a stream of its own."""
        known = self._normals.get((name, number))
        if known is None or index >= len(known):
            stream = [self._table.seed, self._number, number, *name.encode()]
            size = 64 if known is None else 2 * (index + 1)  # a longer one begins as the shorter
            known = np.random.default_rng(stream).standard_normal(max(size, index + 1))
            self._normals[name, number] = known
        return float(known[index])
