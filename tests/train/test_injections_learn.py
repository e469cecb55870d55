"""A stage trains an injection as a part of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_toys import Job
from training_toys import Make, assert_same, train_apart, weights

from ablate.config.study import load_study
from ablate.cost import estimate as cost
from ablate.cost.adapters import check_adapters
from ablate.cost.checks import check_built
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.train.restore import load_trained, starting_model
from ablate.train.stage import train

GATED = {"name": "gated_cross_attention", "every": 1, "heads": 2, "head_width": 8}
EXPERT = {"name": "visual_expert"}
LORA = {"name": "lora", "rank": 2, "alpha": 4.0, "targets": [], "dropout": 0.0}


def rates(ctx: Any) -> dict[str, float]:
    found: dict[str, float] = ctx.rows()[0]["lr"]
    return found


def test_it_learns_at_the_projectors_rate_where_no_other_is_given(make_context: Make) -> None:
    beside = make_context("beside", injection=GATED, train={"projector": 2e-3})
    own = make_context("own", injection=GATED, train={"projector": 2e-3, "injection": 1e-3})
    frozen = make_context("frozen", injection=GATED, train={"llm": 2e-3})
    none = make_context("none", train={"projector": 2e-3})
    for ctx in beside, own, frozen, none:
        train(ctx)
    assert rates(beside)["injection"] == rates(beside)["projector"]
    assert rates(own)["injection"] == pytest.approx(rates(own)["projector"] / 2)
    assert rates(frozen).keys() == {"llm"}
    assert rates(none).keys() == {"projector"}
    rows = {row["part"]: row for row in json.loads((own.work / "parameters.json").read_text())}
    assert rows["injection"]["trainable"] == rows["injection"]["parameters"] > 0
    table = json.loads((none.work / "parameters.json").read_text())
    assert "injection" not in {row["part"] for row in table}
    assert not (none.work / "injection.safetensors").exists()


@pytest.mark.parametrize("injection", [GATED, EXPERT], ids=["gated", "expert"])
def test_killed_and_resumed_it_ends_with_the_same_bits(
    make_context: Make, injection: dict[str, Any]
) -> None:
    how = {"injection": injection, "infra": {"checkpoint_every_steps": 2, "micro_batch_size": 2}}
    calm = make_context("calm", **how)
    train(calm)
    stopped = make_context("stopped", **how)
    assert train_apart(stopped, 5) != 0
    train(stopped)
    assert stopped.journal.read_bytes() == calm.journal.read_bytes()
    assert_same(weights(stopped.work), weights(calm.work))
    assert any(name.startswith("injection") for name in weights(calm.work))


def test_the_next_stage_and_the_evaluation_have_what_was_learnt(make_context: Make) -> None:
    first = make_context("first", "pretrain", injection=EXPERT, train={"projector": 5e-3}, steps=3)
    train(first)
    trained = load_trained(first.commit())
    second = make_context("second", injection=EXPERT, parents={"pretrain": first.work})
    start = starting_model(second.spec, second.parents)
    assert_same(dict(start.state_dict()), dict(trained.state_dict()))
    own, llm = trained.injection.state_dict(), trained.llm.state_dict()
    copied = llm["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(own["layers.0.mlp_up_proj.weight"], copied)


def test_an_adapter_learns_in_it(make_context: Make) -> None:
    how = {"train": {"injection": 5e-3}, "adapters": {"injection": LORA}, "injection": EXPERT}
    ctx = make_context(**how)
    train(ctx)
    before = starting_model(ctx.spec, {}).state_dict()
    after = load_trained(ctx.commit()).state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("injection.") for name in changed)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize(
    ("injection", "strategy"),
    [
        pytest.param(GATED, "ddp", id="gated-ddp"),
        pytest.param(EXPERT, "fsdp", id="expert-fsdp", marks=pytest.mark.slow),
        pytest.param(GATED, "fsdp", id="gated-fsdp", marks=pytest.mark.slow),
        pytest.param(EXPERT, "ddp", id="expert-ddp", marks=pytest.mark.slow),
    ],
)
def test_two_processes_do_the_steps_of_one(
    make_context: Make, tmp_path: Path, injection: dict[str, Any], strategy: str
) -> None:
    ctx = make_context(injection=injection, batch_size=5, steps=3)
    infra = {"micro_batch_size": 2, "strategy": strategy}
    alone, shared = (Job(ctx, tmp_path / str(tasks), tasks, infra).done() for tasks in (1, 2))
    for row, expected in zip(shared.rows(), alone.rows(), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=2e-6)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
    left, right = weights(shared.artifact), weights(alone.artifact)
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        torch.testing.assert_close(tensor, right[key], rtol=0, atol=5e-5, msg=key)


def checked(*changes: str) -> cost.ModelCost:
    """The cost of the first candidate of a study that passes what is checked before a launch."""
    study = load_study("micro/smoke", changes)
    rounds = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
    candidates = [candidate for turn in rounds for candidate in turn.candidates]
    check_adapters(candidates, study.infra)
    check_built(candidates)
    return cost.model_cost(candidates[0])


def test_a_plan_counts_its_parameters_its_work_and_the_context_it_leaves_free() -> None:
    plain = checked()
    gated = checked("base.injection={name: gated_cross_attention, every: 1}")
    assert plain.injection == cost.Cost(0, 0)
    assert (plain.visual_tokens, gated.visual_tokens) == (16, 0)
    assert gated.parameters > plain.parameters
    assert gated.work(30)["injection"] > plain.work(30)["injection"] == 0
    stacked = checked("base.injection={name: deepstack, stacks: 4}")
    assert stacked.visual_tokens == 4


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("gated_cros_attention", "no injection 'gated_cros_attention'; did you mean 'gated_cross"),
        ("{name: partial_lora, rnk: 4}", "has no option 'rnk'; did you mean 'rank'?"),
        ("{name: partial_lora, rank: r}", "option 'rank' of injection 'partial_lora' is int"),
        ("{name: deepstack, stacks: 3}", "16 tokens of an image are not 3 runs of one size"),
        ("{name: llama_vision, every: 90}", "every is 90, but there are"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_launched(written: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        checked(f"base.injection={written}")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
