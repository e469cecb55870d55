"""Where and how steps run. Never part of a step's identity: it must not change a result."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ablate.catalog import launchers, step_kinds
from ablate.catalog.step_kinds import DRIVER
from ablate.config import launcher_options
from ablate.config.tracker import TrackerConfig
from ablate.errors import UserError, nearest
from ablate.parsing.validation import Fields, known


def _known_kind(kind: str) -> str:
    if kind not in (*(step_kind.name for step_kind in step_kinds.OURS), DRIVER) and (
        kind not in (known := step_kinds.names())
    ):
        hint = {"kind": kind, "hint": nearest(kind, [*known, DRIVER])}
        raise PydanticCustomError("kind", "no kind of step '{kind}'{hint}", hint)
    return kind


Kind = Annotated[str, AfterValidator(_known_kind)]
DEEPSPEED = "0.19.8"
"""The oldest DeepSpeed that is used: an older one would count micro-batches itself, wrongly."""
CHECKPOINT_MINUTES = 5.0
"""Minutes of training that a kill costs at most."""


class Infra(Fields):
    """Where and how steps run.

    `devices`: processes of a step on each of `nodes`, with a GPU each where there are GPUs; they
    share its batches in the way `strategy` says. `micro_batch_size`: samples on a device at once
    (null: all that are its share); and questions, when it answers (null: what memory holds).
    A state to go on from is saved after so many steps (null: whatever their number), and so many
    minutes after the last.
    `packing`: the samples of a micro-batch lie end to end, without padding, and micro-batches hold
    as many tokens as each other, none more than `micro_batch_size` samples of the longest.
    `gradient_checkpointing`: whether the blocks of encoders and language model compute their
    activations again in the backward pass, and logits where there are many; `auto`: those blocks
    alone that must, for the GPU's memory.
    `compile`: encoders and the language model's blocks by `torch.compile`, where that can be done.
    `generate`: who generates a candidate's answers: the model itself, or a server of vLLM, which an
    evaluation starts by the command `vllm` (its words; of an environment of its own).
    `tracker`: what shows metrics besides (`ablate list trackers`), by name or with its options.
    `kinds`: what is different for a kind of step, any of these fields; `driver` is the driver where
    it is a job, `preflight` what tries everything out before the first step, in one process.
    `cluster`: the profile that these fields go over (null: the default one). What a launcher is
    told (`ablate.catalog.launchers`) is beside these fields, under its name: `options`.
    """

    model_config = ConfigDict(extra="allow")

    cluster: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    strategy: Literal["ddp", "fsdp", "hsdp", "deepspeed"] = "ddp"
    micro_batch_size: PositiveInt | None = None
    num_workers: NonNegativeInt = 0
    packing: bool = False
    gradient_checkpointing: bool | Literal["auto"] = False
    compile: bool = False
    generate: Literal["own", "vllm"] = "own"
    vllm: list[str] = Field(default=["vllm"], min_length=1)
    checkpoint_every_steps: PositiveInt | None = None
    checkpoint_every_minutes: PositiveFloat = CHECKPOINT_MINUTES
    tracker: TrackerConfig | None = None
    kinds: dict[Kind, "Infra"] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        others = [key for key in value if key not in cls.model_fields]
        if any(launcher_options.options(name) is None for name in others):
            known(value, {*cls.model_fields, *launcher_options.with_options()})
        return {
            **value,
            **{name: launcher_options.read_options(name, value[name]) for name in others},
        }

    def options(self, launcher: str) -> Any:
        """What a launcher is told, its `Options`."""
        return self._options_set.get(launcher) or launchers.load(launcher).Options()

    @property
    def _options_set(self) -> Mapping[str, Fields]:
        """The options that are set, by their launcher."""
        return self.model_extra or {}

    @property
    def processes(self) -> int:
        """How many do a step together."""
        return self.devices * self.nodes

    @property
    def shares_of_weights(self) -> int:
        """Into how many shares a model's weights are cut, each of which one device holds."""
        return {"fsdp": self.processes, "hsdp": self.devices}.get(self.strategy, 1)

    @property
    def shares_of_updates(self) -> int:
        """The same of gradients and moments."""
        return self.processes if self.by_deepspeed else self.shares_of_weights

    @property
    def by_deepspeed(self) -> bool:
        """Whether several processes share a step by DeepSpeed."""
        return self.strategy == "deepspeed" and self.processes > 1

    def of(self, kind: str) -> "Infra":
        """What holds for a kind of step."""
        changes = self.kinds.get(kind)
        mine = self.model_dump(exclude_unset=True, exclude={"kinds"})
        theirs = changes.model_dump(exclude_unset=True) if changes else {}
        if kind == step_kinds.PREFLIGHT:
            mine = _over(mine, {"devices": 1, "nodes": 1})
        return Infra.model_validate(_over(mine, theirs))

    def over(self, under: "Infra") -> "Infra":
        """These fields where they are set, and those of `under` elsewhere."""
        below, above = under.model_dump(exclude_unset=True), self.model_dump(exclude_unset=True)
        return Infra.model_validate(_over(below, above))

    def trackers(self) -> list[dict[str, Any]]:
        """The trackers that any kind of step has, with their options."""
        return [infra.tracker for infra in (self, *self.kinds.values()) if infra.tracker]

    def job_signature(self, kind: str) -> str:
        """What steps must agree in to be done by one job, as JSON."""
        mine = self.of(kind)
        options_set = {
            name: options.model_dump(exclude_defaults=True)
            for name, options in mine._options_set.items()
        }
        asked = mine.model_dump(include={"device", "devices", "nodes"})
        return json.dumps(
            [asked, {name: options for name, options in options_set.items() if options}],
            sort_keys=True,
        )

    def for_steps(self) -> dict[str, Any]:
        """What a step may know of this, as JSON values; what launchers are told is not among it."""
        launchers_set = {
            name for infra in (self, *self.kinds.values()) for name in infra._options_set
        }
        private: Any = dict.fromkeys({"cluster", *launchers_set}, True)
        private["kinds"] = {"__all__": launchers_set}
        return self.model_dump(mode="json", exclude_unset=True, exclude=private)


def require_deepspeed() -> None:
    """Raises UserError unless a DeepSpeed is installed that lets others count micro-batches."""
    from packaging.version import Version

    try:
        installed = version("deepspeed")
    except PackageNotFoundError:
        installed = ""
    if not installed or Version(installed) < Version(DEEPSPEED):
        here = f"{installed} is" if installed else "none is"
        raise UserError(
            f"infra.strategy is deepspeed, which needs DeepSpeed {DEEPSPEED} or newer, but {here} "
            f"installed here; `pip install 'deepspeed>={DEEPSPEED}'`, or choose ddp or fsdp"
        )


def _over(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`mine`, with `theirs` in place of it, field by field; a tracker as a whole."""
    deep = {
        name: _over(mine[name], value)
        for name, value in theirs.items()
        if isinstance(value, Mapping) and isinstance(mine.get(name), Mapping) and name != "tracker"
    }
    return {**mine, **theirs, **deep}
