"""What a study or a profile may say of Ray: `infra.ray`."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, Strict, field_validator

from ablate.config.infra import Infra
from ablate.parsing.validation import Fields, mistake

NAME = "ray"
MORE_MEMORY = "set infra.ray.memory_gb higher, or infra.num_workers lower"
"""What to change where a node's memory was not enough."""
Number = Annotated[PositiveFloat, Strict(False)]
Words = Annotated[tuple[str, ...], Strict(False)]


class Ray(Fields):
    """What each job asks of the cluster. A profile says most of it once (`ablate.config.clusters`).

    `address`: of the cluster's dashboard, as `http://head:8265` (null: $RAY_API_SERVER_ADDRESS, or
    this machine's); `cpus`: of each process; `gpus`: of a job (null: one for each of `devices`,
    none where `device` is cpu); `memory_gb`: of a job; `resources`: custom ones of a job, as
    `{a100: 1}`; `at_once`: jobs that are submitted at once at most; `python`: the words that start
    Python on a node (default: the one that runs now).
    """

    address: str | None = None
    cpus: PositiveInt = 1
    gpus: NonNegativeInt | None = None
    memory_gb: PositiveInt | None = None
    resources: dict[str, Number] = Field(default={})
    at_once: PositiveInt = 64
    python: Words = ()

    @field_validator("address")
    @classmethod
    def _of_a_dashboard(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("http://", "https://")):
            raise mistake(f"should be the dashboard's, as http://head:8265, got '{address}'")
        return address


def options(infra: Infra) -> Ray:
    """What these fields tell Ray."""
    given: Ray = infra.options(NAME)
    return given
