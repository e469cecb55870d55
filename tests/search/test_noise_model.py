"""Results drawn anew: the variances that are promised, the same run again, hours shared; searches
over them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.search.noise_model import (
    EARLIER,
    LAST,
    NoiseModel,
    NoisyTable,
    measured_noise,
    noise_model,
)
from ablate.search.replay import replay
from ablate.search.simulate import simulate
from ablate.search.tabulated import Entry, ScoreTable, paper_table
from ablate.store.results import Evaluation

BASE, SAM, EVA = "clip-micro@32", "sam-micro@128", "eva02-micro@128"
TRUTHS = {BASE: 30.0, f"{BASE}+{SAM}": 40.0, f"{BASE}+{EVA}": 36.0, f"{BASE}+{SAM}+{EVA}": 48.0}


def study(*overrides: str) -> Study:
    return load_study(
        "micro/rounds", [f"explore.pool=[{SAM}, {EVA}]", "explore.rounds=3", *overrides]
    )


def table(truths: Mapping[str, float] = TRUTHS, *overrides: str, **more: Any) -> ScoreTable:
    entries = [Entry(point, {"t": score}, point, **more) for point, score in truths.items()]
    return ScoreTable(study(*overrides), "a table", entries)


def candidate(noisy: NoisyTable, point: str = BASE, seed: int = 0, **shares: float) -> Candidate:
    questions = shares.pop("questions", 1.0)
    first = next(one for one in noisy.everything if one.point == point)
    part = Fidelity(stages=shares, questions=questions)
    return first.model_copy(update={"seed": seed, "fidelity": part})


def drawn(noisy: NoisyTable, number: int, one: Candidate) -> float:
    found = noisy.drawn(number).result(one)
    assert isinstance(found, Evaluation)
    return found.composite


def test_results_spread_round_the_truth_as_much_as_the_model_says() -> None:
    noisy = NoisyTable(table(), NoiseModel(run=2.0, crossing={"finetune": 1.5}, images=1.0))
    asked = {
        "whole": (candidate(noisy), 2.0**2 + 1.0),
        "a quarter": (candidate(noisy, finetune=0.25), 2.0**2 + 1.0 + 2 * 1.5**2),
        "a tenth": (candidate(noisy, finetune=0.1), 2.0**2 + 1.0 + np.log2(10) * 1.5**2),
        "a quarter of the questions": (candidate(noisy, questions=0.25), 2.0**2 + 4.0),
    }
    for what, (one, variance) in asked.items():
        scores = [drawn(noisy, number, one) for number in range(1500)]
        assert np.mean(scores) == pytest.approx(30.0, abs=0.2), what
        assert np.var(scores) == pytest.approx(variance, rel=0.12), what


def test_a_run_stays_the_same_run_from_its_first_part_to_the_end() -> None:
    noisy = NoisyTable(table(), NoiseModel(run=2.0, crossing={"finetune": 0.5}))
    part, whole, other = (
        candidate(noisy, finetune=0.5),
        candidate(noisy),
        candidate(noisy, seed=1),
    )
    moved = [drawn(noisy, n, whole) - drawn(noisy, n, part) for n in range(1000)]
    assert np.std(moved) == pytest.approx(0.5, rel=0.1)
    apart = [drawn(noisy, n, whole) - drawn(noisy, n, other) for n in range(1000)]
    assert np.std(apart) == pytest.approx(2.0 * np.sqrt(2.0), rel=0.1)


def test_what_is_drawn_hangs_on_nothing_that_was_asked_before() -> None:
    noisy = NoisyTable(table(), noise_model(study(), 2.0))
    points, lookup = list(TRUTHS), noisy.drawn(7)
    first = [drawn(noisy, 7, candidate(noisy, point, finetune=0.3)) for point in points]
    for point in reversed(points):
        again = lookup.result(candidate(noisy, point, seed=3))
        again = lookup.result(candidate(noisy, point, finetune=0.3))
        assert again.composite == first[points.index(point)]  # type: ignore[union-attr]
    assert len(set(first)) == len(points)


def test_of_one_known_deviation_the_others_are_as_measured_on_the_micro_scale() -> None:
    found = noise_model(study(), 2.0)
    assert found.crossing == {
        "prealign": 2.0 * EARLIER,
        "pretrain": 2.0 * EARLIER,
        "finetune": 2.0 * LAST,
    }


def test_the_noise_of_a_table_is_what_its_runs_differ_by() -> None:
    assert measured_noise(table()) is None
    entries = [
        Entry(point, {"t": score + gap * seed}, point, seed=seed)
        for point, score, gap in ((BASE, 30.0, 2.0), (f"{BASE}+{SAM}", 40.0, 4.0))
        for seed in (0, 1)
    ]
    found = measured_noise(ScoreTable(study(), "a table", entries))
    assert found == pytest.approx(np.sqrt((2.0 + 8.0) / 2))


def test_a_mixture_that_the_table_lacks_scores_what_its_encoders_add_elsewhere() -> None:
    known = {point: truth for point, truth in TRUTHS.items() if point.count("+") < 2}
    noisy = NoisyTable(table(known), NoiseModel(run=0.0))
    assert noisy.filled == [f"{BASE}+{SAM}+{EVA}"]
    assert drawn(noisy, 0, candidate(noisy, f"{BASE}+{SAM}+{EVA}")) == pytest.approx(46.0)
    assert max(noisy.drawn(0).truths(noisy.everything).values()) == 48.0 - 2.0


def test_the_hours_of_whole_candidates_are_those_of_a_replay() -> None:
    paper = paper_table(load_study("eagle/rounds"))
    found, noisy = replay(paper), NoisyTable(paper, NoiseModel(run=0.5))
    assert noisy.hours(found.candidates) == pytest.approx(found.hours(found.candidates))


def test_a_part_costs_its_share_and_is_trained_again_where_the_schedule_is_a_cosine() -> None:
    for schedule, again in (("cosine", True), ("constant", False)):
        changed = f"base.recipe.finetune.schedule={schedule}"
        paper = paper_table(load_study("eagle/rounds", [changed]))
        noisy = NoisyTable(paper, NoiseModel(run=0.5))
        point = noisy.everything[0].point
        whole, part = candidate(noisy, point), candidate(noisy, point, finetune=0.25)
        pretrain, finetune, evaluate = (paper.costs(whole) or {}).values()
        rest = pretrain + evaluate
        assert noisy.hours([part]) == pytest.approx(rest + 0.25 * finetune)
        both = rest + finetune + 0.25 * finetune * again + evaluate
        assert noisy.hours([part, whole]) == pytest.approx(both)
        less = candidate(noisy, point, finetune=0.25, questions=0.5)
        assert noisy.hours([less]) == pytest.approx(pretrain + 0.25 * finetune + 0.5 * evaluate)
        twice = [candidate(noisy, point, seed=seed) for seed in (0, 1, 1)]
        assert noisy.hours(twice) == pytest.approx(2 * (rest + finetune))


def test_without_noise_a_search_finds_each_time_what_its_replay_does() -> None:
    paper = paper_table(load_study("eagle/rounds"))
    found = simulate(NoisyTable(paper, NoiseModel(run=0.0)), load_study("eagle/rounds"), 3)
    assert (found.right, found.good, set(found.regret)) == (1.0, 1.0, {0.0})
    assert (
        found.expected
        == found.worst
        == pytest.approx(replay(paper).hours(replay(paper).candidates))
    )
    assert found.dropped is None


def test_the_more_noise_the_less_often_the_best_is_found() -> None:
    right = []
    for run in (0.5, 5.0, 50.0):
        noisy = NoisyTable(table(hours=1.0), NoiseModel(run=run))
        found = simulate(noisy, study(), 300, indifference=9.0)
        right.append(found.right)
        assert found.good >= found.right
        assert found.expected == 4.0
    assert right[0] == 1.0
    assert right[0] > right[1] > right[2]


def test_more_seeds_find_the_best_more_often_for_more_hours() -> None:
    noisy = NoisyTable(table(hours=1.0), NoiseModel(run=8.0))
    once, often = (simulate(noisy, study(f"seeds={seeds}"), 300) for seeds in ([0], [0, 1, 2, 3]))
    assert often.right > once.right + 0.05
    assert (once.expected, often.expected) == (4.0, 16.0)


def test_whole_is_no_part() -> None:
    assert Fidelity(stages={"finetune": 1.0}) == WHOLE
