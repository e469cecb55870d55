"""A search over a table is the search over the store; what it finds, misses and costs."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from core_fakes import EXECUTORS
from hypothesis import given
from hypothesis import strategies as st

from ablate.catalog import published
from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.search.replay import replay
from ablate.search.results_csv import read_csv
from ablate.search.tabulated import Entry, ScoreTable, StoreTable, paper_table
from ablate.store.artifacts import Store

BASE = "clip-micro@32"
POOL = ("convnext-micro@128", "eva02-micro@128", "sam-micro@128")


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("micro/rounds", [f"explore.pool=[{', '.join(POOL)}]", "explore.rounds=4"])


def table(study: Study, scores: Mapping[str, float], **more: Any) -> ScoreTable:
    """One task's score by design point."""
    entries = [
        Entry(point, {"t": score}, f"line {n}", **more)
        for n, (point, score) in enumerate(scores.items())
    ]
    return ScoreTable(study, "a table", entries)


def mixtures() -> list[tuple[str, ...]]:
    """All that have the base."""
    sizes = range(len(POOL) + 1)
    return [(BASE, *more) for size in sizes for more in itertools.combinations(POOL, size)]


def test_the_paper_s_search_replayed_is_the_paper_s_own_path() -> None:
    """Its figure 4: X2 to X5, and X6, which is worse; every score is the printed average."""
    found = replay(paper_table(load_study("eagle/rounds")))
    added = [point.rpartition("+")[2].partition("-")[0] for point in found.path]
    assert added == ["convnext", "eva02", "pix2struct", "sam", "dinov2"]
    assert max(found.scores, key=found.scores.__getitem__) == found.path[3]
    assert found.regret == 0.0
    rows = published.table("F4_roundrobin")
    printed = {row: rows.printed(row, "Avg") for row in ("X2", "X3", "X4", "X5", "X6")}
    for point, (row, average) in zip(found.path, printed.items(), strict=True):
        assert 10 * found.scores[point] == pytest.approx(average, abs=0.2), row
    assert len(found.scores) == 11
    assert found.hours(found.candidates) == pytest.approx(
        sum(found.hours([one]) or 0.0 for one in found.candidates)
    )


def test_a_decision_by_scores_alone_has_no_interval_and_calls_nothing_a_tie() -> None:
    turn = replay(paper_table(load_study("eagle/rounds"))).rounds[1]
    assert turn.decision
    assert 10 * (turn.decision.difference or 0.0) == pytest.approx(0.3, abs=0.05)
    assert (turn.decision.interval, turn.decision.tie) == (None, None)
    assert len(turn.decision.inputs) == 4


@given(scores=st.lists(st.integers(0, 40), min_size=8, max_size=8))
def test_it_finds_what_greedy_growth_by_hand_does_and_regrets_what_that_misses(
    study: Study, scores: list[int]
) -> None:
    known = {frozenset(one): float(score) for one, score in zip(mixtures(), scores, strict=True)}
    found = replay(table(study, {"+".join(sorted(one)): score for one, score in known.items()}))
    best, seen = (BASE,), [(BASE,)]
    for path in found.path[1:]:
        grown = [(*best, more) for more in POOL if more not in best]
        seen += grown
        best = min(grown, key=lambda one: (-known[frozenset(one)], "+".join(one)))
        assert path == "+".join(best)
    top = max(known[frozenset(one)] for one in seen)
    assert max(found.scores.values()) == top
    assert found.regret == max(known.values()) - top
    assert found.rounds == rounds_so_far(study, found.table)


def test_what_the_table_lacks_is_named_with_what_it_has(study: Study) -> None:
    two = table(study, {BASE: 1.0, f"{BASE}+{POOL[0]}": 2.0})
    with pytest.raises(UserError) as raised:
        replay(two)
    assert str(raised.value) == (
        f"round 2 asks for {BASE}+{POOL[1]}, {BASE}+{POOL[2]}, which a table lacks; of that round "
        f"it has {BASE}+{POOL[0]}"
    )
    with pytest.raises(
        UserError, match=r"round 1 asks for .*, which a table lacks; it has nothing"
    ):
        replay(table(study, {}))


def test_a_mixture_that_is_there_twice_in_another_order_is_refused(study: Study) -> None:
    twice = {f"{BASE}+{POOL[0]}": 1.0, f"{POOL[0]}+{BASE}": 2.0}
    with pytest.raises(UserError, match=f"line 1: '{POOL[0]}.*' is there already: line 0"):
        table(study, twice)


def test_seeds_are_those_of_the_table_and_averaged(study: Study) -> None:
    entries = [
        Entry("+".join(one), {"t": 10.0 * len(one) + seed}, f"{one} {seed}", seed=seed)
        for one in mixtures()
        for seed in (3, 5)
    ]
    found = replay(ScoreTable(study, "a table", entries), 2)
    assert found.table.study.seeds == (3, 5)
    assert len(found.candidates) == 2 * 4
    assert found.scores[BASE] == 14.0
    with pytest.raises(UserError, match=r"has no run of seed \d, others have"):
        ScoreTable(study, "a table", entries[:-1])


def test_hours_are_those_of_the_table_or_else_estimated(study: Study) -> None:
    scores = {"+".join(one): float(len(one)) for one in mixtures()}
    found = replay(table(study, scores, hours=2.0), 2)
    assert found.hours(found.candidates) == 8.0
    assert found.hours(found.table.candidates) == 16.0
    guessed = replay(table(study, scores), 2)
    alone = [guessed.hours([one]) or 0.0 for one in guessed.candidates]
    assert "estimated" in guessed.table.costed
    assert 0.0 < (guessed.hours(guessed.candidates) or 0.0) < sum(alone)  # pre-alignment is shared


def test_over_a_finished_store_it_decides_as_the_search_did(tmp_path: Path) -> None:
    study, home = load_study("micro/rounds", ["explore.rounds=2"]), tmp_path / "home"
    drive(study, None, "inline", home=home, executors=EXECUTORS)
    store = Store(home)
    found = replay(StoreTable(study, store))
    assert [turn.decision and turn.decision.to_json() for turn in found.rounds] == [
        StoreTable(study, store).decision(number) for number in (1, 2)
    ]
    assert found.rounds[1].decision
    assert found.rounds[1].decision.interval
    assert len(found.tabulated) == 6
    hours = found.hours(found.candidates)
    assert hours is not None
    assert 0.0 < hours < sum(found.hours([one]) or 0.0 for one in found.candidates)
    with pytest.raises(UserError, match=r"round 3 asks for .*, which the store in .* lacks"):
        replay(StoreTable(study, store), 3)


def test_a_study_that_asks_other_questions_than_the_paper_has_no_table_of_it() -> None:
    with pytest.raises(UserError, match="asks no published benchmark, its suite is micro"):
        paper_table(load_study("micro/rounds"))
    with pytest.raises(
        UserError, match="F4_roundrobin has no column of VQAv2, which eagle-main asks"
    ):
        paper_table(load_study("eagle/rounds", ["suite=eagle-main"]))
    with pytest.raises(UserError, match="names no published table"):
        paper_table(load_study("eagle/rounds", ["published=null"]))


def test_the_shipped_table_of_the_micro_scale_is_whole() -> None:
    """32 mixtures under each of its seeds: greedy may miss the best, exhaustive may not."""
    path = Path(__file__).parents[2] / "reports" / "micro_subsets.csv"
    whole, search = load_study("micro/subsets"), load_study("micro/rounds", ["explore.rounds=6"])
    found = replay(read_csv(path, whole))
    assert len(found.tabulated) == len(found.scores) == 32
    assert found.regret == 0.0
    assert replay(read_csv(path, search)).regret >= 0.0
