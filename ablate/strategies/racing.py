"""Greedy rounds whose candidates race: most training goes where the decision is open."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PositiveInt, Strict

from ablate.design import Design
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.strategies import Choice, Context, Outcome, Round, Trial
from ablate.strategies._race import ERROR, INDIFFERENCE, Rules, choose, next_look, this_round
from ablate.strategies.rounds import Rounds

SHARE = 0.25
"""Of the last stage, at the first look: what comes before it makes the order of candidates."""


class Racing(Rounds):
    """Greedy rounds whose candidates race: little training, a look, more for those still open.

    All of a round start at the first of the `budgets` (default: a quarter of the last stage, then
    all of it) and go on to the next at each look, at last whole; then those still open get a seed
    more at each, up to `most_seeds` runs. A candidate is dropped once the upper bound of its
    advantage over another is below zero (Maron and Moore, Hoeffding Races, NIPS 1993), which holds
    what the choice of questions, training noise and what is still to be trained may change.
    `error`: the risk that the best of a round is dropped, over all of its looks and candidates. A
    round ends when one is left, or the others may be ahead by `indifference` points at most. While
    noise is not known no bound is: then the best half goes on, at least three. `keep`: how many go
    on from a look at a part at most; the risk of that is in no bound.
    """

    example: ClassVar[Mapping[str, Any]] = {**Rounds.example, "most_seeds": 2}
    looks: ClassVar[bool] = True

    budgets: Annotated[tuple[Fidelity, ...] | None, Strict(False)] = None
    error: Annotated[float, Field(gt=0.0, lt=1.0)] = ERROR
    indifference: Annotated[float, Field(ge=0.0)] = INDIFFERENCE
    most_seeds: PositiveInt = 4
    keep: PositiveInt | None = None

    def resolved(self, study: Context) -> Self:
        budgets = self._budgets(study.base)
        study.check_budgets("budgets", budgets)
        return super().resolved(study).model_copy(update={"budgets": budgets})

    @property
    def rule(self) -> str:
        return self._rules(self.budgets or (WHOLE,)).words

    def _rules(self, budgets: tuple[Fidelity, ...]) -> Rules:
        return Rules(budgets, self.error, self.indifference, self.most_seeds, self.keep)

    def _budgets(self, design: Design) -> tuple[Fidelity, ...]:
        last = list(design.recipe.stages())[-1]
        default = (Fidelity(stages={last: SHARE}), WHOLE)
        return default if self.budgets is None else self.budgets

    def trials(self, base: Design, before: Sequence[Round]) -> Mapping[str, Trial]:
        budgets = self._budgets(base)
        if before and (more := next_look(self._rules(budgets), this_round(before))):
            return more
        designs = self.designs(base, before)
        first = budgets[0] if len(designs) > 1 else WHOLE  # one alone is no race
        return {point: Trial(design, fidelity=first) for point, design in designs.items()}

    def choose(self, rivals: Mapping[str, Sequence[Outcome]], history: Sequence[Outcome]) -> Choice:
        design = next(iter(rivals.values()))[0].candidate
        return choose(self._rules(self._budgets(design)), rivals, history)
