"""Every mixture, a little of each, and more of the best: a race whose cost is known beforehand."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PositiveInt, Strict

from ablate.design import Design
from ablate.design.fidelity import Fidelity
from ablate.errors import UserError, nearest
from ablate.strategies import Choice, Context, Outcome, Round, Trial
from ablate.strategies._decision import Look, Standing, alike, mean
from ablate.strategies._race import design_of
from ablate.strategies.exhaustive import Exhaustive

NO_BOUND = "So many go on, whatever the noise: no bound holds the risk that the best is dropped."


class Rung(Fidelity):
    """How much of each candidate is trained, with how many `seeds`, and how many go on: `keep`."""

    keep: PositiveInt
    seeds: PositiveInt = 1

    @property
    def fidelity(self) -> Fidelity:
        """Without what is of the rung alone."""
        return Fidelity(stages=self.stages, questions=self.questions)


class Halving(Exhaustive):
    """Every mixture of the pool, a little of each; of the best more, until one is left.

    Successive halving (Karnin, Koren and Somekh, ICML 2013; Jamieson and Talwalkar, AISTATS 2016):
    at each of the `rungs` so much is trained of every candidate that is left, and the best `keep`
    by their mean go on. What it costs is known beforehand; how often it finds the best is not, and
    no bound holds it: `ablate plan --strategy halving` finds that by simulation. Default: a 32nd of
    the last stage, a quarter of the mixtures; a quarter of it, two; all of it.
    """

    example: ClassVar[Mapping[str, Any]] = {
        **Exhaustive.example,
        "rungs": [{"stages": {"finetune": 0.25}, "keep": 2}, {"keep": 1}],
    }
    looks: ClassVar[bool] = True

    rungs: Annotated[tuple[Rung, ...] | None, Strict(False)] = Field(default=None, min_length=1)

    def resolved(self, study: Context) -> Self:
        strategy = super().resolved(study)
        rungs, stages = strategy._rungs(study.base), study.base.recipe.stages()
        with study.at("rungs"):
            for budget in rungs:
                for name in budget.stages:
                    if name not in stages:
                        raise UserError(f"no stage '{name}'{nearest(name, stages)}")
            for before, after in pairwise(rungs):
                if not before.within(after) or before.seeds > after.seeds:
                    raise UserError("a rung has at least as much of a candidate as the one before")
                if after.keep > before.keep:
                    raise UserError(f"{after.keep} cannot go on of {before.keep}")
            if rungs[-1].keep != 1 or not rungs[-1].fidelity.is_whole:
                raise UserError("the last rung is {keep: 1}, all of a candidate")
        return strategy

    def _rungs(self, base: Design) -> tuple[Rung, ...]:
        if self.rungs is not None:
            return self.rungs
        last, mixtures = list(base.recipe.stages())[-1], len(self.designs(base, ()))
        few = max(2, mixtures // 4)
        return (
            Rung(stages={last: 1 / 32}, keep=few),
            Rung(stages={last: 1 / 4}, keep=2),
            Rung(keep=1),
        )

    @property
    def rule(self) -> str:
        return f"halving: the best by mean go on, {self.rungs or 'by default'}"

    def trials(self, base: Design, before: Sequence[Round]) -> Mapping[str, Trial]:
        rungs = self._rungs(base)
        if not before:
            designs = self.designs(base, before)
            return {point: _trial(design, rungs[0], 0) for point, design in designs.items()}
        number, last = len(before), before[-1]
        if number >= len(rungs):
            return {}
        goes_on = last.points[: rungs[number - 1].keep]
        if last.decision:
            goes_on = last.decision.look.open if last.decision.look else ()
        tried = {candidate.point: candidate for candidate in last.candidates}
        same = rungs[number].fidelity == rungs[number - 1].fidelity
        done = rungs[number - 1].seeds if same else 0
        return {point: _trial(design_of(tried[point]), rungs[number], done) for point in goes_on}

    def choose(self, rivals: Mapping[str, Sequence[Outcome]], history: Sequence[Outcome]) -> Choice:
        runs = {point: alike(outcomes) for point, outcomes in rivals.items()}
        candidate = next(iter(runs.values()))[-1].candidate
        rungs = self._rungs(candidate)
        reached = max(outcome.turn for outcomes in rivals.values() for outcome in outcomes)
        ranked = sorted(runs, key=lambda point: (-mean(runs[point]), point))
        goes_on = tuple(ranked[: rungs[reached - 1].keep]) if reached < len(rungs) else ()
        top = mean(runs[ranked[0]])
        standings = {}
        for point in ranked:
            mark = "leads" if point == ranked[0] else "goes on" if point in goes_on else "dropped"
            behind = top - mean(runs[point])
            standings[point] = Standing(len(runs[point]), mean(runs[point]), behind, None, mark)
        look = Look(goes_on, standings, error=0.0, spent=0.0, notes=(NO_BOUND,))
        return Choice(goes_on or (ranked[0],), runs, look)


def _trial(design: Design, rung: Rung, done: int) -> Trial:
    """A design at a rung, with the seeds that are not done."""
    return Trial(design, tuple(range(done, rung.seeds)), rung.fidelity)
