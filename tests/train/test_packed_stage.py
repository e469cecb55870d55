"""A stage whose conversations lie end to end learns what it learns without."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rank_toys import Job
from test_devices import assert_close, make_job, with_text  # noqa: F401
from training_toys import Make, assert_same, train_apart, weights

from ablate.config.study import load_study
from ablate.cost.packing import check_packing
from ablate.errors import UserError
from ablate.model import mllm, token_losses
from ablate.search.explore import rounds_so_far
from ablate.store.results import NoResults
from ablate.train.stage import train

PACKED = {"packing": True, "micro_batch_size": 2}


def assert_alike(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for row, other in zip(rows, expected, strict=True):
        assert (row["step"], row["tokens"]) == (other["step"], other["tokens"])
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize("objective", ["sft", "length_weighted"])
def test_a_packed_stage_has_the_losses_of_a_padded_one(make_context: Make, objective: str) -> None:
    how = {"objective": {"name": objective}, "batch_size": 5, "steps": 3}
    padded = make_context("padded", **how)
    packed = make_context("packed", **how, infra=PACKED)
    for ctx in padded, packed:
        train(ctx)
    assert_alike(packed.rows(), padded.rows())


def test_a_packed_stage_that_was_killed_goes_on_to_the_same_bits(make_context: Make) -> None:
    infra = {**PACKED, "checkpoint_every_steps": 2}
    whole, killed = (make_context(name, infra=infra, steps=4) for name in ("whole", "killed"))
    train(whole)
    assert train_apart(killed, last=3) == -9
    train(killed)
    assert killed.rows() == whole.rows()
    assert_same(weights(killed.work), weights(whole.work))


def few_logits(task: int) -> None:
    """Has a process make few logits at once, as if the vocabulary were large."""
    for module in (mllm, token_losses):
        module.LOGITS_AT_ONCE = 200  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_pack_and_recompute_to_the_steps_of_one(
    make_job: Any,  # noqa: F811
    tmp_path: Path,
    strategy: str,
) -> None:
    data = with_text(tmp_path)
    how = {"data": data, "steps": 3, "warm_projector": 1}
    alone: Job = make_job("alone", **how).done()
    infra = {"strategy": strategy, "packing": True, "gradient_checkpointing": True}
    job = make_job("shared", 2, infra, **how)
    assert_close(replace(job, prepare=few_logits).done(), alone)


def test_a_study_that_cannot_be_packed_is_one_line_before_anything_starts() -> None:
    def check(*sets: str) -> None:
        study = load_study("micro/smoke", ["infra.packing=true", *sets])
        [first, *_] = rounds_so_far(study, NoResults(), 1)[0].candidates
        check_packing([first], study.infra)

    check()
    with pytest.raises(UserError, match=r"infra.packing: injection 'prefix_lm' takes .* at false"):
        check("base.injection=prefix_lm")
    check("base.injection=prefix_lm", "infra.packing=false")
