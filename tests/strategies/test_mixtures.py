"""Searches over mixtures: backwards, several going on, all at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import ablate
from strategy_toys import Scores

from ablate.catalog import suites
from ablate.config.study import Study, load_study
from ablate.search.explore import rounds_so_far

BASE = "clip-micro@32"
POOL = ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"]
S, E, D = POOL


def study(explore: str) -> Study:
    pool = f"pool: [{', '.join(POOL)}]"
    return load_study("micro/rounds", [f"explore={{{explore}, {pool}}}", "seeds=[0]"])


def mixture(*experts: str) -> str:
    return "+".join((BASE, *experts))


def points(of: Study, scores: Scores) -> list[list[str]]:
    return [[one.point for one in turn.candidates] for turn in rounds_so_far(of, scores)]


def test_backwards_the_expert_goes_that_is_missed_least() -> None:
    scores = Scores({mixture(S, E, D): 60.0})
    scores.known |= {mixture(E, D): 50.0, mixture(S, D): 59.0, mixture(S, E): 40.0}
    _, second, third = points(study("kind: rounds, direction: backward, rounds: 3"), scores)
    assert second == [mixture(E, D), mixture(S, D), mixture(S, E)]
    assert third == [mixture(D), mixture(S)]


def test_of_a_beam_several_go_on_and_what_two_of_them_lead_to_is_tried_once() -> None:
    scores = Scores({BASE: 30.0, mixture(S): 50.0, mixture(E): 49.0, mixture(D): 40.0})
    *_, third = points(study("kind: beam, width: 2, rounds: 3"), scores)
    assert third == [mixture(S, E), mixture(S, D), mixture(E, D)]


@given(scores=st.lists(st.integers(0, 100).map(float), min_size=7, max_size=7))
def test_a_beam_of_one_is_the_greedy_search(scores: list[float]) -> None:
    every = [BASE, mixture(S), mixture(E), mixture(D)]
    every += [mixture(a, b) for a in POOL for b in POOL if a != b]
    known = Scores(dict(zip(every, [*scores, *scores], strict=False)))
    beam = points(study("kind: beam, width: 1, rounds: 3"), known)
    assert beam == points(study("kind: rounds, rounds: 3"), known)


def test_a_beam_as_wide_as_a_round_sees_every_mixture_of_its_sizes() -> None:
    wide = study("kind: beam, width: 9, rounds: 4")
    known = Scores()
    while missing := [
        one
        for turn in rounds_so_far(wide, known)
        if not turn.provisional
        for one in turn.candidates
        if one.name not in known.known
    ]:
        known.known |= {one.name: 50.0 for one in missing}
    tried = {frozenset(one.split("+")) for turn in points(wide, known) for one in turn}
    (all_of_them,) = points(study("kind: exhaustive"), Scores())
    assert tried == {frozenset(one.split("+")) for one in all_of_them}
    assert len(tried) == len(all_of_them) == 2**3


def test_subsets_are_as_large_as_they_may_be() -> None:
    (tried,) = points(study("kind: exhaustive, size: 1"), Scores())
    assert tried == [BASE, mixture(S), mixture(E), mixture(D)]


@pytest.mark.parametrize(
    ("explore", "said"),
    [
        ("kind: exhaustive, size: 4", "explore.size: 4 experts, the pool has 3"),
        ("kind: exhaustive, size: 0", "explore.size: should be greater than 0, got 0"),
        ("kind: beam, rounds: 2, width: 0", "explore.width: should be greater than 0, got 0"),
        (
            "kind: rounds, rounds: 2, direction: sideways",
            "'sideways' is no valid value; choose one of backward, forward",
        ),
    ],
)
def test_a_mistake_is_one_line(explore: str, said: str) -> None:
    written = f"explore={{{explore}, pool: [{', '.join(POOL)}]}}"
    done = ablate("plan", "micro/rounds", "--set", written)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert said in line


def test_all_subsets_are_found_in_a_table_that_has_them(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    (tried,) = points(study("kind: exhaustive"), Scores())
    lines = [
        f"{point},{task.task},{40 + 5 * len(point.split('+'))}"
        for point in tried
        for task in suites.resolve("micro").tasks
    ]
    table.write_text("\n".join(["candidate,benchmark,score", *lines]) + "\n")
    explore = f"explore={{kind: exhaustive, pool: [{', '.join(POOL)}]}}"
    found = ablate("replay", "micro/rounds", "--set", explore, "--over", str(table))
    assert found.code == 0, found.err
    assert f"It found {mixture(*POOL)}" in found.out
