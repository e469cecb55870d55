"""Halving: every mixture at the first rung, the best so many at the next, one in the end."""

import json
from typing import Any

import pytest
from strategy_toys import Scores, played

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far

POOL = ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"]
RUNGS = [
    {"stages": {"finetune": 0.1}, "keep": 4, "seeds": 2},
    {"stages": {"finetune": 0.5}, "keep": 2, "seeds": 2},
    {"keep": 2},
    {"keep": 1},
]


def halving(rungs: list[dict[str, Any]] | None = None, **fields: Any) -> Study:
    explore = {"kind": "halving", "pool": POOL, **({"rungs": rungs} if rungs else {}), **fields}
    return load_study("micro/rounds", [f"explore={json.dumps(explore)}"])


def by_size(one: Candidate) -> float:
    return 10.0 * len(one.encoders) + one.seed


def test_by_default_a_quarter_of_the_mixtures_go_on_then_two_then_one() -> None:
    turns = played(halving(), by_size)
    assert [len(turn.points) for turn in turns] == [8, 2, 2]
    parts = [turn.candidates[0].fidelity.stages for turn in turns]
    assert parts == [{"finetune": 1 / 32}, {"finetune": 1 / 4}, {}]
    assert {turn.round for turn in turns} == {1}
    last = turns[-1].decision
    assert last
    assert (last.settled, last.fidelity) == (True, WHOLE)
    assert last.winner.count("+") == 3


def test_the_best_by_their_mean_go_on_with_the_seeds_that_a_rung_asks() -> None:
    rungs = [
        *RUNGS[:2],
        {"stages": {"finetune": 0.5}, "keep": 2, "seeds": 3},
        {"keep": 1, "seeds": 3},
    ]
    turns = played(halving(rungs), by_size)
    assert [len(turn.points) for turn in turns] == [8, 4, 2, 2]
    assert [sorted({one.seed for one in turn.candidates}) for turn in turns] == [
        [0, 1],
        [0, 1],
        [2],  # two are there already
        [0, 1, 2],
    ]
    third = turns[2].decision
    assert third
    assert third.look
    assert {one.runs for one in third.look.standings.values()} == {3}
    assert third.scores[third.winner] == 41.0
    assert turns[1].candidates[0].fidelity == Fidelity(stages={"finetune": 0.5})


def test_what_failed_does_not_go_on_and_another_takes_its_place() -> None:
    study, scores = halving(), Scores()
    (first,) = rounds_so_far(study, scores)[:1]
    largest = max(first.candidates, key=lambda one: len(one.encoders))
    scores.known = {one.name: by_size(one) for one in first.candidates} | {largest.name: "ended"}
    turns = rounds_so_far(study, scores)
    assert largest.point not in turns[1].points
    assert len(turns[1].points) == 2


def test_a_look_says_that_no_bound_holds_its_risk() -> None:
    for turn in played(halving(), by_size):
        assert turn.decision
        assert turn.decision.look
        assert turn.decision.look.error == 0.0
        assert "no bound" in turn.decision.look.notes[0]


@pytest.mark.parametrize(
    ("rungs", "said"),
    [
        ([{"keep": 2}], "the last rung is {keep: 1}, all of a candidate"),
        ([{"stages": {"finetune": 0.5}, "keep": 1}], "the last rung is"),
        (
            [{"stages": {"finetun": 0.5}, "keep": 2}, {"keep": 1}],
            "no stage 'finetun'; did you mean",
        ),
        (
            [{"keep": 2, "seeds": 2}, {"keep": 1}],
            "at least as much of a candidate as the one before",
        ),
        (
            [{"stages": {"finetune": 0.5}, "keep": 2}, {"keep": 3}, {"keep": 1}],
            "3 cannot go on of 2",
        ),
        ([], "rungs"),
    ],
)
def test_a_mistake_in_the_rungs_is_told(rungs: list[dict[str, Any]], said: str) -> None:
    explore = {"kind": "halving", "pool": POOL, "rungs": rungs}
    with pytest.raises(UserError, match="rungs") as caught:
        load_study("micro/rounds", [f"explore={json.dumps(explore)}"])
    assert said in str(caught.value)
