"""What experts add: exact where every mixture was trained, and honest where it was not."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.reports import tables
from ablate.reports.contributions import Contributions
from ablate.reports.model import CandidateResult, RoundResult, StudyResult
from ablate.store.answers import Answers

QUESTIONS = 60


def mixture(experts: str, right: np.ndarray) -> CandidateResult:
    """The base `0` with these experts, a letter each; `right`: whether it answers each question."""
    encoders = ("0", *experts)
    rows = tuple(
        {
            "task": f"t{index % 2}",
            "id": str(index),
            "image": str(index // 2),
            "question": "?",
            "truth": "a",
            "answer": "a",
            "score": float(one),
            "weight": 1.0,
        }
        for index, one in enumerate(right)
    )
    scores = {f"t{task}": 100 * float(np.mean(right[task::2])) for task in range(2)}
    config = {"encoders": list(encoders), "recipe": {}, "seeds": [0]}
    composite = sum(scores.values()) / 2
    return CandidateResult(
        "+".join(encoders), 1, encoders, "x", config, (), scores, (composite,), (Answers.of(rows),)
    )


def trained(greedy: StudyResult, mixtures: dict[str, np.ndarray]) -> StudyResult:
    """A study in which these mixtures were trained, the base first."""
    made = tuple(mixture(experts, right) for experts, right in mixtures.items())
    return dataclasses.replace(greedy, rounds=(RoundResult(1, made),), base_name=made[0].name)


def answers(wanted: float) -> np.ndarray:
    return np.arange(QUESTIONS) < round(wanted)


def orders(scores: dict[frozenset[str], float], expert: str, game: str) -> float:
    """The Shapley value by its definition: what the expert adds on joining, over all orders."""
    gains = []
    for order in itertools.permutations(game):
        before = frozenset(order[: order.index(expert)])
        gains.append(scores[before | {expert}] - scores[before])
    return sum(gains) / math.factorial(len(game))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, QUESTIONS), min_size=8, max_size=8))
def test_shapley_is_the_mean_over_all_orders_and_adds_up(
    greedy: StudyResult, rights: list[int]
) -> None:
    subsets = [c for n in range(4) for c in itertools.combinations("abc", n)]
    rights[-1] = QUESTIONS  # so that the best mixture has all three
    study = trained(greedy, {"".join(c): answers(n) for c, n in zip(subsets, rights, strict=True)})
    game = Contributions(study)
    scores = {one: made.composite or 0.0 for one, made in game.trained.items()}
    best = "".join(sorted(game.best))
    total = 0.0
    for expert in best:
        found = game.shapley(expert)
        assert found is not None
        assert found.value is not None
        assert found.wants == ()
        assert found.value.estimate == pytest.approx(orders(scores, expert, best))
        total += found.value.estimate
    assert total == pytest.approx(scores[frozenset(best)] - scores[frozenset()])


def test_where_a_mixture_was_not_trained_the_value_is_bounded_and_it_is_said_which(
    greedy: StudyResult,
) -> None:
    rights = {"": 10, "a": 30, "b": 12, "ab": 40}
    study = trained(greedy, {name: answers(right) for name, right in rights.items()})
    whole = Contributions(study).shapley("a")
    assert whole is not None
    assert whole.value is not None
    part = trained(greedy, {name: answers(right) for name, right in rights.items() if name != "b"})
    found = Contributions(part).shapley("a")
    assert found is not None
    assert found.value is None
    assert found.wants == ("0+b",)
    assert found.bounds is not None
    assert found.bounds[0] <= whole.value.estimate <= found.bounds[1]
    row = tables.contributions(part).set_index("expert").loc["a"]
    assert math.isnan(row["shapley"])
    assert row["shapley_least"] == pytest.approx(found.bounds[0])
    assert row["wants"] == "0+b"


def test_leave_one_out_is_told_of_the_best_mixture_where_the_rest_was_trained(
    greedy: StudyResult,
) -> None:
    rights = {"": 10, "a": 30, "ab": 40}
    study = trained(greedy, {name: answers(right) for name, right in rights.items()})
    frame = tables.contributions(study).set_index("expert")
    assert frame.loc["b", "last"] == pytest.approx(100 * 10 / QUESTIONS)
    assert math.isnan(frame.loc["a", "last"])
    assert frame.loc["a", "added"] == pytest.approx(100 * 20 / QUESTIONS)
    assert frame.loc["a", "mixtures"] == 1


def test_two_that_fix_the_same_questions_duplicate_and_two_that_fix_others_do_not(
    greedy: StudyResult,
) -> None:
    none, first, last = answers(0), answers(30), ~answers(30)
    alike = trained(greedy, {"": none, "a": first, "b": first, "ab": first})
    row = tables.pairs(alike).iloc[0]
    assert (row["overlap"], row["together"]) == pytest.approx((1.0, -50.0))
    assert row["verdict"] == "duplicate in these runs"
    again = dataclasses.replace(alike, replicates={"again": alike.candidates[0].runs * 2})
    assert tables.pairs(again).iloc[0]["verdict"] == "duplicate"
    apart = trained(greedy, {"": none, "a": first, "b": last, "ab": answers(60)})
    row = tables.pairs(apart).iloc[0]
    assert (row["overlap"], row["together"]) == pytest.approx((-1.0, 0.0))
    assert row["verdict"] == "not told from none"
    alone = trained(greedy, {"": none, "a": first, "b": last})
    row = tables.pairs(alone).iloc[0]
    assert row["verdict"] == "not trained together"
    assert math.isnan(row["together"])


def test_a_candidate_that_differs_in_more_than_its_encoders_is_no_coalition(
    greedy: StudyResult,
) -> None:
    study = trained(greedy, {"": answers(10), "a": answers(30)})
    other = study.candidates[1]
    changed = dataclasses.replace(other, config={**other.config, "recipe": {"steps": 2}})
    [turn] = study.rounds
    mixed = dataclasses.replace(
        study, rounds=(dataclasses.replace(turn, candidates=(turn.candidates[0], changed)),)
    )
    assert Contributions(mixed).experts == []
    assert tables.contributions(mixed).empty


def test_the_search_s_experts_are_all_there_with_what_they_move(greedy: StudyResult) -> None:
    frame = tables.contributions(greedy)
    assert len(frame) == 5
    best = greedy.best
    assert best is not None
    told = frame[frame["shapley"].notna()]["expert"]
    assert set(told) == set(best.encoders) - {"clip-micro@32"}
    moved = tables.moves(greedy)
    text = moved[(moved["expert"] == "pix2struct-micro@128") & (moved["p"] < 0.05)]
    assert {"OCR", "TextVQA", "DocVQA"} <= set(text["benchmark"])
