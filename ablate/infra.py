"""Where and how steps run. Never part of a step's identity: it must not change a result."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ablate.validate import Fields, Option

Kind = Literal["prealign", "pretrain", "finetune", "evaluate", "bake"]


class Slurm(Fields):
    """What each job asks of the cluster; `extra` goes to sbatch as it is.

    `gpus`: on each node; null: one for each of `devices`, none where `device` is cpu.
    """

    timeout_min: Annotated[int, Field(ge=1)] = 1440
    cpus: PositiveInt = 4
    gpus: NonNegativeInt | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    extra: dict[str, Option] = Field(default={})


class Infra(Fields):
    """Where and how steps run.

    `devices`: processes of a step on each of `nodes`, with a GPU each where there are GPUs; they
    share its batches in the way `strategy` says. `micro_batch_size`: samples on a device at once
    (null: all that are its share); and questions, when it answers (null: 64). `kinds`: what is
    different for a kind of step, any of these fields.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    micro_batch_size: PositiveInt | None = None
    num_workers: NonNegativeInt = 0
    gradient_checkpointing: bool = False
    checkpoint_every_steps: PositiveInt = 50
    slurm: Slurm = Slurm()
    kinds: dict[Kind, "Infra"] = Field(default={})

    def of(self, kind: str) -> "Infra":
        """What holds for a kind of step."""
        changes = {str(name): more for name, more in self.kinds.items()}.get(kind)
        mine = self.model_dump(exclude_unset=True, exclude={"kinds"})
        theirs = changes.model_dump(exclude_unset=True) if changes else {}
        return Infra.model_validate(_over(mine, theirs))


def _over(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`mine`, with `theirs` in place of it, field by field."""
    deep = {
        name: _over(mine[name], value)
        for name, value in theirs.items()
        if isinstance(value, Mapping) and isinstance(mine.get(name), Mapping)
    }
    return {**mine, **theirs, **deep}
