"""`seeds: auto`: one seed each, and more for those whose decision is open."""

import json
from pathlib import Path

import core_fakes
import pytest
from in_process import ablate, faked
from strategy_toys import Scores
from test_racing import noisy, played, shapes

from ablate.config.study import load_study
from ablate.design.fidelity import WHOLE
from ablate.errors import UserError
from ablate.search import decision
from ablate.search.explore import rounds_so_far
from ablate.strategies.rounds import Rounds

AUTO = "seeds=auto"


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "DRAWS", 20)


def test_it_starts_with_one_seed() -> None:
    study = load_study("micro/rounds", [AUTO])
    (first, second, *_) = rounds_so_far(study, Scores({"clip-micro@32": 30.0}))
    assert {one.seed for one in (*first.candidates, *second.candidates)} == {0}
    assert [one.name for one in first.candidates] == ["clip-micro@32"]
    assert ablate("plan", "micro/rounds", "--set", AUTO).out.splitlines()[1] == (
        "Seed 0 first; where the decision is open then, candidates get more seeds."
    )
    assert json.loads(ablate("plan", "micro/rounds", "--set", AUTO, "--json").out)["adds_seeds"]


@pytest.mark.parametrize("kind", ["rounds", "beam", "arms"])
def test_those_whose_decision_is_open_get_more(kind: str) -> None:
    arms = "explore={kind: arms, axis: a, arms: [{name: a}, {name: b, set: {fusion.grid: [2, 2]}}]}"
    explore = [arms] if kind == "arms" else [f"explore.kind={kind}", "explore.rounds=2"]
    study = load_study("micro/rounds", [AUTO, *explore])
    turns = [turn for turn in played(study, noisy(2.0)) if len(turn.points) > 1]
    found = shapes(turns)
    assert all(fidelity == WHOLE for _, fidelity, _ in found)
    assert [seeds for *_, seeds in found] == [{n} for n in range(len(found))]
    counts = [count for count, *_ in found]
    assert counts == sorted(counts, reverse=True)
    assert len(found) > 1
    last = turns[-1].decision
    assert last
    assert last.settled
    assert len(last.survivors) == study.explore.keeps


def test_a_clear_winner_needs_two_seeds() -> None:
    study = load_study("micro/rounds", [AUTO, "explore.rounds=2"])
    turns = played(study, lambda one: 90.0 if "sam" in one.name else 20.0 + one.seed)
    assert {one.seed for turn in turns for one in turn.candidates} == {0, 1}


def test_a_word_nearly_right_and_a_strategy_that_chooses_for_itself_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match=r"seeds: should be a list, got 'atuo'"):
        load_study("micro/rounds", ["seeds=atuo"])
    monkeypatch.setattr(Rounds, "choose", lambda self, rivals, history: None)
    with pytest.raises(UserError, match=r"seeds=auto: seeds: 'rounds' chooses for itself; list"):
        load_study("micro/rounds", [AUTO])


def test_a_table_of_scores_has_the_seeds_that_it_has(tmp_path: Path) -> None:
    auto = ablate("replay", "eagle/rounds", "--set", AUTO, "--json")
    assert auto.out == ablate("replay", "eagle/rounds", "--json").out


@pytest.mark.usefixtures("unreported")
def test_a_table_holds_the_mean_of_all_seeds_of_each(own_home: Path) -> None:
    with faked(core_fakes.EXECUTORS):
        done = ablate("run", "micro/smoke", "--set", AUTO, "--backend", "inline")
        assert done.code == 0, done.err
        table = json.loads(ablate("table", "micro/smoke", "--set", AUTO, "--json").out)
        status = json.loads(ablate("status", "micro/smoke", "--set", AUTO, "--json").out)
    assert status["complete"]
    seeds = [row["seeds"].split() for row in table["rows"]]
    assert seeds[0] == ["0"]
    assert max(map(len, seeds)) > 1
    assert [row["spread"] is not None for row in table["rows"]] == [len(one) > 1 for one in seeds]
    scored = [one for turn in status["rounds"] for one in turn["candidates"]]
    for row, own in zip(table["rows"], seeds, strict=True):
        runs = [one["score"] for one in scored if one["name"].split(" (")[0] == row["candidate"]]
        assert len(runs) == len(own)
        assert row["score"] == pytest.approx(sum(runs) / len(runs))
