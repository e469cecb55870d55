"""A declared space: fields of the base by dotted path, and where each of them ranges.

A point of it is a value by parameter, as Optuna has them: a field is one parameter, but `encoders`,
where each expert is one that is true or false. Optuna is imported where its distributions are.
"""

import json
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    Strict,
    model_validator,
)
from pydantic_core import PydanticKnownError

from ablate.design import Design, Names
from ablate.errors import nearest
from ablate.parsing.tree import located
from ablate.parsing.validation import Fields, mistake
from ablate.strategies._interface import Context

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = Mapping[str, Any]
"""The values of parameters, by name."""


class Range(Fields):
    """Where the field at `path` ranges."""

    kind: str

    @abstractmethod
    def distributions(self, path: str) -> "Mapping[str, BaseDistribution]":
        """Its parameters, by name."""

    def value(self, path: str, point: Point) -> Any:
        """What the field is at a point, as YAML has it; `encoders`: those that are added."""
        return point[path]

    @abstractmethod
    def point(self, path: str, value: Any) -> Point | None:
        """The parameters of a value of the field; None where it lies outside."""

    @abstractmethod
    def ends(self) -> Sequence[Any]:
        """The values to try on the base alone, to see that the field takes them."""

    @abstractmethod
    def steps(self, path: str) -> Mapping[str, Sequence[Any]] | None:
        """Every value of its parameters; None where there is no end of them."""

    def holds(self, path: str, point: Point) -> bool:
        """Whether the point is in the range, of those that its distributions draw."""
        return True


class Categorical(Range):
    """One of these values, of any kind."""

    kind: Literal["categorical"]
    choices: Annotated[tuple[Any, ...], Strict(False), Field(min_length=1)]

    def _words(self) -> dict[Any, Any]:
        """The values by what Optuna calls them: lists and mappings by their JSON."""
        return {
            json.dumps(choice) if isinstance(choice, list | dict) else choice: choice
            for choice in self.choices
        }

    def distributions(self, path: str) -> "Mapping[str, BaseDistribution]":
        from optuna.distributions import CategoricalDistribution

        return {path: CategoricalDistribution(tuple(self._words()))}

    def value(self, path: str, point: Point) -> Any:
        return self._words()[point[path]]

    def point(self, path: str, value: Any) -> Point | None:
        return next(
            ({path: word} for word, choice in self._words().items() if choice == value), None
        )

    def ends(self) -> Sequence[Any]:
        return self.choices

    def steps(self, path: str) -> Mapping[str, Sequence[Any]] | None:
        return {path: list(self._words())}


class _Between(Range):
    """A number from `low` to `high`, both included, in steps of `step` where there is one."""

    low: float
    high: float
    step: float | None

    @property
    def highest(self) -> float:
        """The last of the steps from `low`."""
        if self.step is None:
            return self.high
        return self.low + math.floor((self.high - self.low) / self.step + 1e-9) * self.step

    def point(self, path: str, value: Any) -> Point | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.highest:
            return None
        count = (value - self.low) / self.step if self.step else 0.0
        return {path: value} if abs(count - round(count)) < 1e-8 else None

    def ends(self) -> Sequence[Any]:
        return [self.low, self.highest]


class Integer(_Between):
    """A whole number from `low` to `high`, in steps of `step` from `low`, or by its logarithm."""

    kind: Literal["integer"]
    low: int
    high: int
    step: PositiveInt = 1
    log: bool = False

    @property
    def highest(self) -> int:
        return self.high - (self.high - self.low) % self.step

    @model_validator(mode="after")
    def _ordered(self) -> "Integer":
        _check(self.low, self.high, self.log, self.step != 1)
        return self

    def distributions(self, path: str) -> "Mapping[str, BaseDistribution]":
        from optuna.distributions import IntDistribution

        return {path: IntDistribution(self.low, self.highest, log=self.log, step=self.step)}

    def steps(self, path: str) -> Mapping[str, Sequence[Any]] | None:
        return {path: range(self.low, self.high + 1, self.step)}


class Real(_Between):
    """A number from `low` to `high`, in steps of `step` where it is given, or by its logarithm."""

    kind: Literal["float"]
    low: float
    high: float
    step: PositiveFloat | None = None
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Real":
        _check(self.low, self.high, self.log, self.step is not None)
        return self

    def distributions(self, path: str) -> "Mapping[str, BaseDistribution]":
        from optuna.distributions import FloatDistribution

        return {path: FloatDistribution(self.low, self.highest, log=self.log, step=self.step)}

    def steps(self, path: str) -> Mapping[str, Sequence[Any]] | None:
        if self.step is None:
            return None
        count = round((self.highest - self.low) / self.step)
        return {path: [self.low + n * self.step for n in range(count + 1)]}


class Subset(Range):
    """Some of these experts, from `at_least` to `at_most` of them, beside the base's encoders."""

    kind: Literal["subset"]
    of: Names
    at_least: NonNegativeInt = 0
    at_most: PositiveInt | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Subset":
        most = len(self.of) if self.at_most is None else self.at_most
        if self.at_least > min(most, len(self.of)):
            raise mistake(f"at_least is {self.at_least}, of {len(self.of)} at most {most} go in")
        return self

    def distributions(self, path: str) -> "Mapping[str, BaseDistribution]":
        from optuna.distributions import CategoricalDistribution

        return {title: CategoricalDistribution((False, True)) for title in self.of}

    def value(self, path: str, point: Point) -> Any:
        return [title for title in self.of if point[title]]

    def point(self, path: str, value: Any) -> Point | None:
        ticked = {title: title in value for title in self.of}
        inside = set(value) <= set(self.of) and self.holds(path, ticked)
        return ticked if inside else None

    def ends(self) -> Sequence[Any]:
        return [[title] for title in self.of]

    def steps(self, path: str) -> Mapping[str, Sequence[Any]] | None:
        return {title: [False, True] for title in self.of}

    def holds(self, path: str, point: Point) -> bool:
        most = len(self.of) if self.at_most is None else self.at_most
        return self.at_least <= [point[title] for title in self.of].count(True) <= most


KINDS: Mapping[str, type[Range]] = {
    "categorical": Categorical,
    "subset": Subset,
    "integer": Integer,
    "float": Real,
}


class Space:
    """Fields and their ranges, as one."""

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        self.ranges = dict(ranges)

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Of all parameters, by name."""
        distributions: dict[str, Any] = {}
        for path, range_ in self.ranges.items():
            distributions |= range_.distributions(path)
        return distributions

    def values(self, point: Point) -> dict[str, Any]:
        """The fields at a point, by path."""
        return {path: range_.value(path, point) for path, range_ in self.ranges.items()}

    def holds(self, point: Point) -> bool:
        """Whether a point that was drawn is one of the space."""
        return all(range_.holds(path, point) for path, range_ in self.ranges.items())

    def point(self, values: Mapping[str, Any]) -> Point | None:
        """The point with these values of the fields; None where one lies outside."""
        point: dict[str, Any] = {}
        for path, range_ in self.ranges.items():
            part = range_.point(path, values[path])
            if part is None:
                return None
            point |= part
        return point

    def values_of(self, base: Design) -> dict[str, Any]:
        """What the fields are in the base; of encoders none is added."""
        values: dict[str, Any] = {}
        for path in self.ranges:
            here: Any = base.model_dump(mode="json")
            for part in path.split("."):
                here = here.get(part) if isinstance(here, dict) else None
            values[path] = [] if path == "encoders" else here
        return values

    def grid(self) -> dict[str, Sequence[Any]] | None:
        """Every value of every parameter; None where there is no end of them."""
        grid: dict[str, Sequence[Any]] = {}
        for path, range_ in self.ranges.items():
            steps = range_.steps(path)
            if steps is None:
                return None
            grid |= steps
        return grid

    @property
    def endless(self) -> str | None:
        """The first field that has no end of values."""
        paths = (path for path, range_ in self.ranges.items() if range_.steps(path) is None)
        return next(paths, None)

    @property
    def has_numbers(self) -> bool:
        """Whether a field ranges over numbers."""
        return any(isinstance(range_, _Between) for range_ in self.ranges.values())

    def words(self, point: Point) -> str:
        """A point in short: choices and experts as they are, numbers after the end of their path, a
        component by its name and options.

        An end that several paths have is told with what is before it.
        """
        return ", ".join(self._words(point))

    def _words(self, point: Point) -> Iterator[str]:
        for path, value in self.values(point).items():
            if isinstance(self.ranges[path], Subset):
                yield "+".join(value) or "no expert"
            elif isinstance(value, str):
                yield value
            elif isinstance(value, dict) and isinstance(value.get("name"), str):
                options = (f"{key}={option}" for key, option in value.items() if key != "name")
                yield " ".join([value["name"], *options])
            else:
                shown = f"{value:.3g}" if isinstance(value, float) else json.dumps(value)
                yield f"{_end(path, list(self.ranges))} {shown}"


def design_at(study: Context, space: Space, point: Point) -> Design:
    """The design at a point. Raises UserError where there is none."""
    return variant(study, space.values(point))


def base_point(study: Context, space: Space) -> Point | None:
    """The point of the base, in whatever words a choice is written; None where the space lacks
    it."""
    values = space.values_of(study.base)
    for path, range_ in space.ranges.items():
        if isinstance(range_, Categorical):
            same = (c for c in range_.choices if variant(study, {path: c}) == study.base)
            values[path] = next(same, values[path])
    return space.point(values)


def variant(study: Context, values: Mapping[str, Any]) -> Design:
    """The base with these values, each as if it stood where its range is written."""
    changes = {}
    for path, value in values.items():
        at = study.written("space", path)
        whole = [*study.base.encoders, *value] if path == "encoders" else value
        changes[path] = located(whole, at.where, at.folder)
    return study.variant(changes)


def _end(path: str, paths: Sequence[str]) -> str:
    """The shortest end of a path that no other has."""
    parts = path.split(".")
    for n in range(1, len(parts)):
        end = ".".join(parts[-n:])
        if sum(other == end or other.endswith(f".{end}") for other in paths) == 1:
            return end
    return path


def _check(low: float, high: float, log: bool, stepped: bool) -> None:
    if low > high:
        raise mistake(f"low {low} is above high {high}")
    if log and low <= 0:
        raise mistake(f"log needs a low above 0, got {low}")
    if log and stepped:
        raise mistake("give log or step, one of the two")


def _parsed(value: Any) -> Range:
    """A range as it is written."""
    if isinstance(value, Range):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    kind = str(value.get("kind", ""))
    if kind not in KINDS:
        wrong = f"no kind of range '{kind}'" if kind else "kind is missing"
        raise mistake(f"{wrong}{nearest(kind, KINDS)}", "kind")
    return KINDS[kind].model_validate(value)


AnyRange = Annotated[Range, PlainValidator(_parsed)]
"""A range by its `kind`."""
