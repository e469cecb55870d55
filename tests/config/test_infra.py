"""A kind of step may run in another place than the rest."""

import pytest

from ablate.config.study import load_study
from ablate.errors import UserError


def test_a_kind_of_step_changes_the_fields_it_names_and_no_others() -> None:
    changes = ["infra.devices=8", "infra.slurm.cpus=16", "infra.kinds.evaluate.devices=1"]
    infra = load_study("micro/smoke", [*changes, "infra.kinds.evaluate.slurm.cpus=2"]).infra
    evaluate = infra.of("evaluate")
    assert (evaluate.devices, evaluate.slurm.cpus) == (1, 2)
    assert (infra.of("finetune").devices, infra.of("finetune").slurm.cpus) == (8, 16)
    assert evaluate.device == infra.device
    assert evaluate.slurm.timeout_min == infra.slurm.timeout_min


def test_a_kind_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="finetun"):
        load_study("micro/smoke", ["infra.kinds.finetun.devices=2"])
