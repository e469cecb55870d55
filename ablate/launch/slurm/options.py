"""What a study or a profile may say of Slurm: `infra.slurm`."""

from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, Strict, field_validator

from ablate.config.infra import Infra
from ablate.parsing.validation import Fields, Option, mistake

NAME = "slurm"
MORE_MEMORY = "set infra.slurm.mem higher, or infra.num_workers lower"
"""What to change where a node's memory was not enough."""
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
                problem = f"is a field of its own: {field}" if field else "is set by ablate itself"
                raise mistake(problem, name)
            named[option] = value
        return named


def options(infra: Infra) -> Slurm:
    """What these fields tell Slurm."""
    given: Slurm = infra.options(NAME)
    return given
