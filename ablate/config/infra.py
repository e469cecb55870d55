"""Where and how steps run. Never part of a step's identity: it must not change a result."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, Strict, field_validator
from pydantic_core import PydanticCustomError

from ablate.catalog import step_kinds
from ablate.errors import UserError, nearest
from ablate.parsing.validation import Fields, Option

DRIVER = "driver"
"""What `infra.kinds` knows besides the kinds of steps: the driver, where it is a job."""


def _known(kind: str) -> str:
    if kind not in (*(one.name for one in step_kinds.OURS), DRIVER) and (
        kind not in (known := step_kinds.names())
    ):
        hint = {"kind": kind, "hint": nearest(kind, [*known, DRIVER])}
        raise PydanticCustomError("kind", "no kind of step '{kind}'{hint}", hint)
    return kind


Kind = Annotated[str, AfterValidator(_known)]
Words = Annotated[tuple[str, ...], Strict(False)]
OURS = {
    "array": "",
    "cpus-per-task": "cpus",
    "error": "",
    "gpus-per-node": "gpus",
    "job-name": "",
    "no-requeue": "",
    "nodes": "infra.nodes",
    "ntasks": "infra.devices",
    "ntasks-per-node": "infra.devices",
    "open-mode": "",
    "output": "",
    "requeue": "",
    "signal": "",
    "time": "timeout_min",
    "wrap": "",
}
"""What `ablate` itself tells sbatch, which `extra` must not change, and the field that may."""
DEEPSPEED = "0.19.8"
"""The oldest DeepSpeed that is used: an older one would count micro-batches itself, wrongly."""
SOON = 60
"""Minutes at most that a preflight is given: a short job need not wait for long."""
QUESTIONS = 64
"""Questions that an evaluation answers at once on a device, where the study does not say."""


class Slurm(Fields):
    """What each job asks of the cluster. A profile says most of it once (`ablate.config.clusters`).

    `cpus`: of each process; `gpus`: on each node (null: one for each of `devices`, none where
    `device` is cpu); `mem`: of each node, as sbatch has it (`64G`); `at_once`: jobs that are
    submitted at once at most (null: as many as Slurm takes); `setup`: lines of bash that each job
    begins with, as they are, and that end it if they fail; `srun`: options of srun; `python`: the
    words that start Python (default: the one that runs now), such as
    `[apptainer, exec, --nv, image.sif, python]`;
    `extra`: any option of sbatch.
    """

    timeout_min: PositiveInt = 1440
    cpus: PositiveInt = 4
    gpus: NonNegativeInt | None = None
    mem: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    at_once: PositiveInt | None = None
    setup: Words = ()
    srun: Words = ()
    python: Words = ()
    extra: dict[str, Option] = Field(default={})

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        """The options by sbatch's long names, such as `gres` or `mail-type`."""
        named = {}
        for name, value in extra.items():
            option = name.lstrip("-").replace("_", "-")
            field = option if option in cls.model_fields else OURS.get(option)
            if field is not None:
                said = f"is a field of its own: {field}" if field else "is set by ablate itself"
                raise PydanticCustomError("ours", "{said}", {"said": said, "key": name})
            named[option] = value
        return named


class Infra(Fields):
    """Where and how steps run.

    `devices`: processes of a step on each of `nodes`, with a GPU each where there are GPUs; they
    share its batches in the way `strategy` says. `micro_batch_size`: samples on a device at once
    (null: all that are its share); and questions, when it answers (null: `QUESTIONS`). `kinds`:
    what is different for a kind of step, any of these fields; `driver` is the driver where it is a
    job, `preflight` what tries everything out before the first step, in one process.
    `cluster`: the profile that these fields go over (null: the default one).
    """

    cluster: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    micro_batch_size: PositiveInt | None = None
    num_workers: NonNegativeInt = 0
    gradient_checkpointing: bool = False
    checkpoint_every_steps: PositiveInt = 50
    slurm: Slurm = Slurm()
    kinds: dict[Kind, "Infra"] = Field(default={})

    @property
    def processes(self) -> int:
        """How many do a step together."""
        return self.devices * self.nodes

    @property
    def shares_of_weights(self) -> int:
        """Into how many shares a model's weights are cut, each of which one device holds."""
        return self.processes if self.strategy == "fsdp" else 1

    @property
    def shares_of_updates(self) -> int:
        """The same of gradients and moments."""
        return 1 if self.strategy == "ddp" else self.processes

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
            soon = {"timeout_min": min(self.slurm.timeout_min, SOON)}
            mine = _over(mine, {"devices": 1, "nodes": 1, "slurm": soon})
        return Infra.model_validate(_over(mine, theirs))

    def over(self, under: "Infra") -> "Infra":
        """These fields where they are set, and those of `under` elsewhere."""
        below, above = under.model_dump(exclude_unset=True), self.model_dump(exclude_unset=True)
        return Infra.model_validate(_over(below, above))

    def place(self, kind: str) -> str:
        """What steps must agree in to be done by one job, as JSON."""
        return self.of(kind).model_dump_json(include={"device", "devices", "nodes", "slurm"})

    def for_steps(self) -> dict[str, Any]:
        """What a step may know of this, as JSON values; what is said to Slurm is not among it."""
        private: Any = {"cluster": True, "slurm": True, "kinds": {"__all__": {"slurm"}}}
        return self.model_dump(mode="json", exclude_unset=True, exclude=private)


def require_deepspeed() -> None:
    """Raises UserError unless a DeepSpeed is installed that lets others count micro-batches."""
    from packaging.version import Version

    try:
        found = version("deepspeed")
    except PackageNotFoundError:
        found = ""
    if not found or Version(found) < Version(DEEPSPEED):
        here = f"{found} is" if found else "none is"
        raise UserError(
            f"infra.strategy is deepspeed, which needs DeepSpeed {DEEPSPEED} or newer, but {here} "
            f"installed here; `pip install 'deepspeed>={DEEPSPEED}'`, or choose ddp or fsdp"
        )


def _over(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`mine`, with `theirs` in place of it, field by field."""
    deep = {
        name: _over(mine[name], value)
        for name, value in theirs.items()
        if isinstance(value, Mapping) and isinstance(mine.get(name), Mapping)
    }
    return {**mine, **theirs, **deep}
