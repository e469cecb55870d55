"""What a study would cost by other strategies, those its fields under `explore:` fit. No torch."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from ablate import strategies
from ablate.config.study import Study
from ablate.cost import estimate as cost
from ablate.cost.hours import HoursOfSteps, together
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.store.results import NoResults

MOST = 128
"""Candidates of a strategy up to which they are counted."""


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
    round won.

    One of which a step's length is not known is left out, and one of very many candidates.
    """
    hours, costs = HoursOfSteps(study, gpu), []
    for name, candidates in _tried(study):
        each = [hours(candidate) for candidate in candidates]
        if (shared := together(each)) is not None:
            scratch = sum(
                sum(hours_of_candidate.values())
                for hours_of_candidate in each
                if hours_of_candidate
            )
            costs.append(StrategyCost(name, len(candidates), shared, scratch))
    return costs


def _tried(study: Study) -> Iterator[tuple[str, list[Candidate]]]:
    """What each other strategy would train."""
    for kind in strategies.names():
        if kind != study.explore.kind:
            # One is told by other fields, another belongs to a package that is broken.
            with suppress(ValidationError, PydanticCustomError, UserError):
                explore = strategies.parse(strategies.shared_fields(study.explore, kind))
                other = study.model_copy(update={"explore": explore})
                rounds = rounds_so_far(other, NoResults())
                candidates = [candidate for turn in rounds for candidate in turn.candidates]
                if len(candidates) <= MOST:
                    yield kind, candidates
