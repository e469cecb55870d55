"""A kind of step may run in another place than the rest; and who is shown its metrics."""

import json

import pytest

from ablate.config.infra import Infra
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


def test_a_tracker_is_said_by_its_name_or_with_its_options() -> None:
    infra = load_study("micro/smoke", ["infra.tracker=tensorboard"]).infra
    assert infra.of("finetune").tracker == {"name": "tensorboard"}
    wandb = json.dumps({"name": "wandb", "project": "mine", "offline": True})
    infra = load_study("micro/smoke", [f"infra.tracker={wandb}"]).infra
    whole = {"name": "wandb", "project": "mine", "entity": "", "offline": True}
    assert infra.for_steps()["tracker"] == whole


def test_a_tracker_takes_the_place_of_another_as_a_whole() -> None:
    under = Infra.model_validate({"tracker": {"name": "wandb", "project": "site"}})
    mine = Infra.model_validate(
        {"tracker": "tensorboard", "kinds": {"prealign": {"tracker": None}}}
    )
    assert mine.over(under).tracker == {"name": "tensorboard"}
    assert mine.over(under).of("finetune").tracker == {"name": "tensorboard"}
    assert mine.over(under).of("prealign").tracker is None


@pytest.mark.parametrize(
    ("tracker", "says"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ('{"name": "wandb", "offlin": true}', "no option 'offlin'; did you mean 'offline'"),
        ('{"project": "x"}', "its name is missing"),
    ],
)
def test_a_mistake_in_a_tracker_is_one_line(tracker: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_study("micro/smoke", [f"infra.tracker={tracker}"])
