"""What a study would cost by other strategies, those its fields under `explore:` fit. No torch."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from ablate import strategies
from ablate.config.study import Study
from ablate.cost import estimate as cost
from ablate.cost.hours import HoursOfSteps, together
from ablate.design import Candidate, Design
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far

MOST = 64
"""Mixtures up to which all of them are counted."""
EVERYTHING = "every mixture"


class StrategyCost(NamedTuple):
    """How many candidates a strategy trains, and their GPU-hours: what they share counted once, and
    as if nothing were shared.
    """

    strategy: str
    candidates: int
    gpu_hours: float
    gpu_hours_from_scratch: float


def other_strategies(study: Study, gpu: cost.Gpu) -> list[StrategyCost]:
    """The cost of each other strategy that takes the study's own fields, as if the first of every
    round won, and of every mixture of its shelf that has the base's encoders.

    One of which a step's length is not known is left out.
    """
    hours, found = HoursOfSteps(study, gpu), []
    for name, candidates in (*_tried(study), *_mixtures(study)):
        each = [hours(one) for one in candidates]
        if (shared := together(each)) is not None:
            scratch = sum(sum(one.values()) for one in each if one)
            found.append(StrategyCost(name, len(candidates), shared, scratch))
    return found


def _tried(study: Study) -> Iterator[tuple[str, list[Candidate]]]:
    """What each other strategy would train."""
    for kind in strategies.names():
        if kind != study.explore.kind:
            # One is told by other fields, another belongs to a package that is broken.
            with suppress(ValidationError, PydanticCustomError, UserError):
                explore = strategies.parse(strategies.shared_fields(study.explore, kind))
                other = study.model_copy(update={"explore": explore})
                rounds = rounds_so_far(other, _Untrained())
                yield kind, [one for turn in rounds for one in turn.candidates]


class _Untrained:
    """A store without results."""

    def result(self, candidate: Candidate) -> None:
        return None

    def decision(self, number: int) -> None:
        return None


def _mixtures(study: Study) -> Iterator[tuple[str, list[Candidate]]]:
    """Everything that a search could try."""
    more = [title for title in study.shelf if title not in study.base.encoders]
    if not (study.explore.goes_on and more and 2 ** len(more) <= MOST):
        return
    yield (
        EVERYTHING,
        [
            _candidate(study.base, added, seed)
            for count in range(len(more) + 1)
            for added in combinations(more, count)
            for seed in study.seeds
        ],
    )


def _candidate(base: Design, added: tuple[str, ...], seed: int) -> Candidate:
    design = base.model_copy(update={"encoders": (*base.encoders, *added)})
    name = design.mixture
    return Candidate(**dict(design), name=name, point=name, round=1, seed=seed)
