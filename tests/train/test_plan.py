"""Which parts learn at a step, and how fast."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ablate.design.recipe import TrainingConfig
from ablate.train.plan import Plan


def plan(**changed: Any) -> Plan:
    fields = {
        "steps": 100,
        "epochs": None,
        "batch_size": 4,
        "train": {"projector": 2.0, "llm": 1.0},
    }
    return Plan(**{**fields, **changed})


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine_to_zero() -> None:
    rates = [plan(warmup=0.1).rate("projector", step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([2 * n / 11 for n in range(1, 11)])
    assert max(rates) == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_constant_schedule_stays_after_warm_up() -> None:
    steady = plan(schedule="constant", warmup=0.02)
    assert [steady.rate("llm", step, 100) for step in (2, 50, 99)] == [1.0, 1.0, 1.0]


def test_the_projector_warms_up_alone_and_the_rest_starts_its_own_schedule_then() -> None:
    late, never = plan(warm_projector=20), plan()
    assert late.learning(19) == {"projector", "injection"}
    assert late.learning(20) == {"projector", "injection", "llm"}
    assert [late.rate("llm", step, 100) for step in (0, 19)] == [0.0, 0.0]
    assert late.rate("llm", 20, 100) == pytest.approx(1 / 4)  # 3 steps of warm-up: 3 % of 80
    assert late.rate("projector", 50, 100) == never.rate("projector", 50, 100)


@given(
    warmup=st.floats(0, 0.99),
    steps=st.integers(1, 300),
    warm=st.integers(0, 300),
    schedule=st.sampled_from(["cosine", "constant", "wsd"]),
    share=st.floats(0.01, 1),
)
def test_no_step_in_which_a_part_learns_is_idle_or_above_its_rate(
    warmup: float, steps: int, warm: int, schedule: Any, share: float
) -> None:
    any_plan = plan(warmup=warmup, warm_projector=warm, schedule=schedule, share=share)
    for step in range(any_plan.length(steps)):
        for part in any_plan.learning(step):
            assert 0 < any_plan.rate(part, step, steps) <= any_plan.rates[part]


def test_a_wsd_schedule_stays_and_falls_in_its_last_fifth_as_one_minus_a_root() -> None:
    steady = plan(schedule="wsd", warmup=0.1)
    rates = [steady.rate("llm", step, 100) for step in range(100)]
    assert steady.decay == 0.2
    assert rates[10:81] == [1.0] * 71
    assert rates[85] == pytest.approx(1 - math.sqrt(5 / 20))
    assert rates[80:] == sorted(rates[80:], reverse=True)


def test_decay_is_of_wsd_alone_and_others_keep_their_words() -> None:
    with pytest.raises(ValidationError, match="decay is of the schedule wsd"):
        plan(decay=0.1)
    assert "decay" not in plan(schedule="constant").model_dump()
    assert "share" not in TrainingConfig.model_fields  # said by the search, not by a recipe


@given(
    steps=st.integers(1, 300),
    warm=st.integers(0, 60),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    schedule=st.sampled_from(["constant", "wsd"]),
    decay=st.floats(0.01, 0.99),
)
def test_a_larger_share_does_all_of_the_trunk_of_a_smaller_one(
    steps: int, warm: int, shares: tuple[float, float], schedule: Any, decay: float
) -> None:
    short, long = (
        plan(schedule=schedule, decay=decay if schedule == "wsd" else None, **one)
        for one in ({"share": share, "warm_projector": warm} for share in sorted(shares))
    )
    trunk = short.trunk(short.length(steps))
    assert 0 <= trunk <= long.trunk(long.length(steps)) < long.length(steps) <= steps
    for step in range(trunk):
        assert short.learning(step) == long.learning(step)
        for part in short.train:
            assert short.rate(part, step, steps) == long.rate(part, step, steps)


def test_a_share_of_a_cosine_is_a_whole_schedule_of_its_own() -> None:
    half, short = plan(share=0.5), plan()
    for step in range(50):
        assert half.rate("llm", step, 100) == short.rate("llm", step, 50)
    assert half.trunk(50) == 0
