"""GPU-hours of many candidates together. Imports no torch but where `estimate` does."""

from collections.abc import Iterable, Mapping

from ablate.config.study import Study
from ablate.cost import estimate as cost
from ablate.design import Candidate
from ablate.store.steps import Texts, steps_for


class HoursOfSteps:
    """The GPU-hours of candidates of a study, each step's worked out once."""

    def __init__(self, study: Study, gpu: cost.Gpu) -> None:
        self._study, self._gpu, self._texts = study, gpu, Texts()
        self._known: dict[str, cost.StepCost | None] = {}

    def __call__(self, candidate: Candidate) -> dict[str, float] | None:
        """Of each of its steps, by key; None if the length of one's data is not known."""
        hours = {}
        for step in steps_for(candidate, self._study, self._texts):
            if step.key not in self._known:
                self._known[step.key] = cost.step_cost(self._study, candidate, step, self._gpu)
            known = self._known[step.key]
            if known is None:
                return None
            hours[step.key] = known.gpu_hours
        return hours


def together(each: Iterable[Mapping[str, float] | None]) -> float | None:
    """The hours of all of them, what several have under one key counted once; None if one is."""
    by_key: dict[str, float] = {}
    for hours in each:
        if hours is None:
            return None
        by_key |= hours
    return sum(by_key.values())
