"""Which parts learn at a step, and how fast."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert late.learning(19) == {"projector"}
    assert late.learning(20) == {"projector", "llm"}
    assert [late.rate("llm", step, 100) for step in (0, 19)] == [0.0, 0.0]
    assert late.rate("llm", 20, 100) == pytest.approx(1 / 4)  # 3 steps of warm-up: 3 % of 80
    assert late.rate("projector", 50, 100) == never.rate("projector", 50, 100)


@given(
    warmup=st.floats(0, 0.99),
    steps=st.integers(1, 300),
    warm=st.integers(0, 300),
    schedule=st.sampled_from(["cosine", "constant"]),
)
def test_no_step_in_which_a_part_learns_is_idle_or_above_its_rate(
    warmup: float, steps: int, warm: int, schedule: Any
) -> None:
    any_plan = plan(warmup=warmup, warm_projector=warm, schedule=schedule)
    for step in range(steps):
        for part in any_plan.learning(step):
            assert 0 < any_plan.rate(part, step, steps) <= any_plan.train[part]
