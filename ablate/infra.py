"""Where and how steps run. Never part of a step's identity: it must not change a result."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ablate.validate import Fields, Option


class Slurm(Fields):
    """What each job asks of the cluster; `extra` goes to sbatch as it is."""

    timeout_min: Annotated[int, Field(ge=1)] = 1440
    cpus: PositiveInt = 4
    gpus: NonNegativeInt = 0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    extra: dict[str, Option] = Field(default={})


class Infra(Fields):
    """Where and how steps run.

    `micro_batch_size`: samples on the device at once (null: the whole batch); and questions, when
    it answers (null: 64).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    micro_batch_size: PositiveInt | None = None
    num_workers: NonNegativeInt = 0
    gradient_checkpointing: bool = False
    checkpoint_every_steps: PositiveInt = 50
    slurm: Slurm = Slurm()
