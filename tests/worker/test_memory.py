"""Running out of memory names the settings that help, of those that can still be changed."""

from typing import Any

import pytest

from ablate.launch.registry import launcher
from ablate.worker.out_of_memory import advice


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""


CUDA = OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("kind", "infra", "said"),
    [
        (
            "finetune",
            {},
            "; set infra.micro_batch_size lower (now all), or infra.gradient_checkpointing to "
            "true, or infra.strategy to fsdp over more infra.devices",
        ),
        (
            "finetune",
            {"micro_batch_size": 1, "gradient_checkpointing": True},
            "; set infra.strategy to fsdp over more infra.devices",
        ),
        ("evaluate", {"micro_batch_size": 8}, "; set infra.micro_batch_size lower (now 8)"),
        ("evaluate", {"micro_batch_size": 1}, "; it takes a GPU with more memory"),
    ],
)
def test_a_gpu_that_is_full_names_what_can_still_change(
    kind: str, infra: dict[str, Any], said: str
) -> None:
    assert advice(CUDA, kind, infra, "local") == said


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")],
)
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("inline", "; set infra.num_workers lower"),
        ("local", "; run fewer steps at once (--jobs)"),
        ("slurm", "; set infra.slurm.mem higher"),
    ],
)
def test_a_host_that_is_full_names_the_settings_of_the_backend(
    error: Exception, backend: str, said: str
) -> None:
    more = launcher(backend).more_memory
    assert advice(error, "finetune", {}, more).startswith(said)


def test_other_errors_get_no_advice() -> None:
    assert advice(ValueError("out of ideas"), "finetune", {}, "slurm") == ""
