"""A recipe: the stages of a candidate's training, in order. Nothing here imports torch."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ablate.catalog import step_kinds
from ablate.catalog.parts import Part
from ablate.design import adapters
from ablate.design.adapters import AdapterConfig
from ablate.design.objective import DEFAULT, ObjectiveConfig
from ablate.errors import nearest
from ablate.parsing.validation import Fields, known, mistake


def _trained(value: Any) -> Any:
    """The learning rates of the parts that train: a part that is absent or null is frozen."""
    if isinstance(value, dict):
        return {part: rate for part, rate in value.items() if rate is not None}
    return value


def _renamed(stage: Any) -> Any:
    """A stage as written, whose `train` says `projector` where it was called the connector."""
    train = stage.get("train") if isinstance(stage, dict) else None
    if not isinstance(train, dict) or train.get("connector") is None:
        return stage
    if train.get("projector") is not None:
        raise mistake(
            "connector is another word for projector; give one of the two (null takes one away)",
            *("train", "connector"),
        )
    others = {part: how for part, how in train.items() if part != "connector"}
    return {**stage, "train": {**others, "projector": train["connector"]}}


def _absent(value: object) -> bool:
    return value is None


DECAY = 0.2
"""The share of its steps in which the rate of `wsd` falls: with so much it does as well as a cosine
of the same length (Haegele et al., arXiv 2405.18392, section 3.2; 0.1 in MiniCPM, 2404.06395)."""


class TrainingConfig(Fields):
    """How a stage trains. `train`: learning rate of each part that does; the others are frozen.
    `connector` there is another word for `projector`; an `injection` that is not named trains at
    the projector's rate, see `rates`.
    `adapters`: what learns in a part that is not trained whole, written beside its rate (`split`).

    Its length is `steps` (of the optimizer) or `epochs` (over its data); `batch_size` samples a
    step on any number of devices. `warmup`: share of the steps; `clip`: largest gradient norm;
    `schedule`: see `Plan.rate`, and of `wsd` the share of the steps in which it falls is `decay`;
    `max_length`: tokens a sample; `warm_projector`: steps in which the projector trains alone;
    `group_by_length`: batches with or without images, sorted by length (`GroupedOrder`). `prompt`:
    `chat` is the language model's own template, `plain` an image and what is said of it (`PLAIN`).
    `objective`: what is minimised, see `ablate list objectives`.
    """

    steps: PositiveInt | None = None
    epochs: PositiveFloat | None = None
    batch_size: PositiveInt
    train: Annotated[dict[Part, PositiveFloat], BeforeValidator(_trained), Field(min_length=1)]
    weight_decay: NonNegativeFloat = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"
    clip: PositiveFloat = 1.0
    max_length: PositiveInt = 2048
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    warm_projector: NonNegativeInt = 0
    group_by_length: bool = False
    # Came later: a step of before it is still the same step.
    decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(default=None, exclude_if=_absent)
    prompt: Literal["chat", "plain"] = Field(default="chat", exclude_if=lambda kind: kind == "chat")
    adapters: dict[Part, AdapterConfig] = Field(default={}, exclude_if=lambda given: not given)
    objective: ObjectiveConfig = Field(
        default=dict(DEFAULT), exclude_if=lambda config: config == DEFAULT
    )

    @model_validator(mode="before")
    @classmethod
    def _adapters_apart(cls, value: Any) -> Any:
        return adapters.split(_renamed(value))

    @model_validator(mode="before")
    @classmethod
    def _decay_filled(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("schedule") == "wsd":
            return {**value, "decay": DECAY if value.get("decay") is None else value["decay"]}
        return value

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingConfig":
        if (self.steps is None) == (self.epochs is None):
            raise mistake("give steps or epochs, one of the two (null takes one away)")
        if self.warm_projector and "projector" not in self.train:
            raise mistake("warm_projector needs a projector that trains")
        if self.decay and self.schedule != "wsd":
            raise mistake("decay is of the schedule wsd (null takes it away)")
        for part in self.adapters.keys() - self.train.keys():
            message = f"an adapter needs a rate: {part}: {{lr: 1.0e-4, ...}} in train"
            raise mistake(message, "adapters", part)
        return self

    @property
    def rates(self) -> dict[Part, float]:
        """The learning rate of each part that trains, if there is such a part."""
        beside: dict[Part, float] = {}
        if "projector" in self.train:
            beside["injection"] = self.train["projector"]
        return {**beside, **self.train}

    def trunk(self, steps: int) -> int:
        """How many of the first of so many steps are those of any longer run, too.

        At `cosine` none. The last step is never one, so that each run has a loss of its own.
        """
        if self.schedule == "cosine":
            return 0
        return steps - max(1, math.ceil((self.decay or 0.0) * steps))


def partly(steps: int, share: float) -> int:
    """How many steps a share of them is: at least one."""
    return max(1, round(share * steps))


class StageConfig(TrainingConfig):
    """A stage of a recipe: how it trains, on which `data`, and where it stands.

    `kind`: of its step, where that is not its name; `after`, `before`: the stage it stands next to.
    """

    data: str
    kind: str | None = Field(default=None, exclude_if=_absent)
    after: str | None = Field(default=None, exclude_if=_absent)
    before: str | None = Field(default=None, exclude_if=_absent)

    @model_validator(mode="after")
    def _one_neighbour(self) -> "StageConfig":
        if self.after and self.before:
            raise mistake("give after or before, one of the two")
        return self


class Recipe(Fields):
    """The stages of training by name, and what holds in all of them.

    `prealign`, `pretrain`, `finetune` and `route` come in this order, wherever they are written. A
    stage of another name says its `kind`; it comes last, after others of its sort that are written
    before it, or else directly `after` or `before` the stage that it names. null takes a stage
    away.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, StageConfig | None] = Field(init=False)

    feature_norm: Literal["none", "layer"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, value: Any) -> Any:
        """Names the nearest field, kind or stage for a name that none of them has."""
        written = value if isinstance(value, dict) else {}
        kinds = {name: kind for name in written if (kind := _kind(written[name])) is not None}
        for name, kind in kinds.items():
            _check_named(name, kind)
        fields = {*cls.model_fields, *_FIRST, *kinds}
        if written.keys() - fields:  # those of other packages take a while to find
            fields.update(_kinds_of_stages())
        for name, stage in written.items():
            if name not in fields and isinstance(stage, dict):
                hint = f" (a stage of another name says its `kind`){nearest(name, fields)}"
                raise mistake(f"unknown key{hint}", name)
        return known(value, fields)

    @model_validator(mode="after")
    def _in_order(self) -> "Recipe":
        whole = False
        for name in self.stages():
            kind = step_kinds.find(self.kind(name))
            if not kind.trains:
                raise mistake(f"'{kind.name}' is no kind of stage", name)
            if kind.per_expert and whole:
                message = "is of each expert alone, so it comes before what trains them together"
                raise mistake(message, name)
            whole |= not kind.per_expert
        if not whole:
            raise mistake("there is no stage that trains a whole candidate, such as finetune")
        return self

    def kind(self, name: str) -> str:
        """The kind of step that a stage is."""
        stage = self._written[name]
        return (stage and stage.kind) or name

    def stages(self) -> dict[str, StageConfig]:
        """The stages there are, by name, in the order in which a candidate passes them."""
        written = self._written
        return {name: stage for name in _ordered(written) if (stage := written.get(name))}

    @property
    def _written(self) -> Mapping[str, StageConfig | None]:
        return self.__pydantic_extra__ or {}


_FIRST = tuple(kind.name for kind in step_kinds.OURS if kind.trains)
"""The stages that have a place of their own, in order."""
_NAME = re.compile(r"[A-Za-z]\w{0,39}", re.ASCII)


def _kinds_of_stages() -> list[str]:
    ours = {kind.name for kind in step_kinds.OURS}
    return [name for name in step_kinds.names() if name in _FIRST or name not in ours]


def _kind(stage: Any) -> Any:
    return stage.get("kind") if isinstance(stage, dict) else None


def _check_named(name: str, kind: Any) -> None:
    """Raises an error unless a stage may have this name and be of this kind of step."""
    kinds = _kinds_of_stages()
    if kind not in kinds:
        raise mistake(f"'{kind}' is no kind of stage{nearest(str(kind), kinds)}", name, "kind")
    if kind != name and name in (*step_kinds.names(), step_kinds.DRIVER):
        message = f"'{name}' is a kind of its own: give a stage of kind '{kind}' another name"
        raise mistake(message, name, "kind")
    if not _NAME.fullmatch(name):
        message = "a stage's name is of letters, digits and _, such as second_tuning"
        raise mistake(message, name)


def _ordered(written: Mapping[str, StageConfig | None]) -> list[str]:
    """The names of stages, also of those that were taken away, in a candidate's order."""
    beside: dict[tuple[str, str], list[str]] = {}
    free = list(_FIRST)
    for name, stage in written.items():
        side = "after" if stage and stage.after else "before"
        anchor = (stage.after or stage.before) if stage else None
        if anchor is None:
            free += [name] if name not in _FIRST else []
        elif name in _FIRST:
            raise mistake(f"'{name}' has a place of its own: {', '.join(_FIRST)}", name, side)
        elif anchor not in written and anchor not in _FIRST:
            hint = nearest(anchor, {*written, *_FIRST} - {name})
            raise mistake(f"there is no stage '{anchor}'{hint}", name, side)
        else:
            beside.setdefault((side, anchor), []).append(name)

    ordered = [stage for name in free for stage in _with_beside(name, beside)]
    if lost := [name for name in written if name not in ordered]:
        raise mistake(f"stands beside itself, by way of {', '.join(lost)}", lost[0])
    return ordered


def _with_beside(name: str, beside: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    """A stage and all that stand directly before and after it, and these, in order."""
    for neighbour in beside.get(("before", name), ()):
        yield from _with_beside(neighbour, beside)
    yield name
    for neighbour in beside.get(("after", name), ()):
        yield from _with_beside(neighbour, beside)
