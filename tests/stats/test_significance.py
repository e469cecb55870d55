"""Corrections keep their word by simulation, and say what they should of known cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.stats import draws
from ablate.stats.bootstrap import DRAWS, Sample, paired_bootstrap
from ablate.stats.intervals import Numbered
from ablate.stats.noise import Noise
from ablate.stats.significance import detectable, halves, holm


def test_holm_of_a_known_case():
    """Holm's steps by hand: 0.01 * 4, 0.02 * 3, then never less than before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5]) == pytest.approx([0.5])
    assert np.isnan(holm([0.01, np.nan, 0.9])[1])
    assert holm([0.01, np.nan, 0.9])[0] == pytest.approx(0.02)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_lies_between_no_correction_and_bonferroni_s_and_keeps_the_order(values):
    p = np.array(values)
    found = holm(p)
    assert ((found >= p) & (found <= np.minimum(p * len(p), 1.0) + 1e-12)).all()
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()


def nulls(rng, studies, rivals, images=150, tasks=1):
    """Studies of a reference and `rivals` that are all as good: (studies * (rivals + 1), Q).

    Each image has a question of each task.
    """
    ease = rng.normal(0.5, 0.15, (studies, images)).repeat(tasks, 1)
    ease = np.repeat(ease, rivals + 1, axis=0)
    return (rng.random(ease.shape) < ease).astype(float)


@pytest.mark.parametrize(("images", "tasks"), [(12, 1), (20, 1), (20, 4), (150, 3)])
def test_without_a_real_difference_holm_finds_a_false_winner_in_5_percent_of_studies(images, tasks):
    """With all the draws that a study has: fewer hide how small p-values get."""
    rng, rivals, together = np.random.default_rng(3), 8, 20
    found = []
    for _ in range(10):
        scores = nulls(rng, together, rivals, images, tasks)
        sample = Sample(
            np.arange(images).repeat(tasks), np.tile(np.arange(tasks), images), list(scores)
        )
        drawn = sample.draw()
        assert len(drawn.drawn) == DRAWS
        index = np.arange(len(scores)).reshape(together, rivals + 1)
        first = index[:, :1].repeat(rivals, 1)
        p = drawn.differences(index[:, 1:].ravel(), first.ravel()).p
        found += list(p.reshape(together, rivals))
    p = np.array(found)
    assert np.mean([holm(row).min() < 0.05 for row in p]) <= 0.07
    assert 0.03 <= np.mean(p < 0.05) <= 0.06
    assert np.mean(p.min(1) < 0.05) > 0.15


def test_a_difference_as_large_as_the_detectable_one_is_seen_in_80_percent_of_studies():
    rng = np.random.default_rng(5)
    studies, images = 1000, 400
    ease = rng.uniform(0.2, 0.7, (studies, images))
    groups, tasks = np.arange(images), np.arange(images) % 4

    def pairs(gain):
        a, b = (rng.random((2, studies, images)) < [ease + gain, ease]).astype(float)
        drawn = Sample(groups, tasks, [*a, *b]).draw(draws=800)
        return drawn.differences(np.arange(studies), np.arange(studies, 2 * studies))

    pilot = pairs(0.0)
    wanted = float(np.median(detectable(pilot)))
    assert wanted == pytest.approx(2.80 * np.median(pilot.error), rel=0.04)
    assert np.mean(pairs(wanted / 100).p < 0.05) == pytest.approx(0.8, abs=0.04)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_what_is_said_to_be_seen_is_more_than_half_the_interval(data):
    """Whatever the answers, all alike or not: two candidates alike have an interval, too."""
    bits = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
    a, b = np.array(data.draw(bits), dtype=float).T
    found = paired_bootstrap(a, b, np.arange(len(a)), np.zeros(len(a)), draws=400)
    seen = float(detectable(found))
    assert seen > max(found.high - found.estimate, found.estimate - found.low) > 0.0
    assert found.tie or abs(found.estimate) > 0.0


@pytest.mark.parametrize("images", [12, 25, 100, 400])
@pytest.mark.parametrize("right", [0.1, 0.5, 0.95])
def test_of_two_that_are_as_good_few_images_find_a_difference_in_5_percent_at_most(images, right):
    rng, pairs = np.random.default_rng(3), 600
    ease = np.clip(rng.normal(right, 0.05, (pairs, 1, images)), 0.0, 1.0)
    scores = (rng.random((pairs, 2, images)) < ease).astype(float).reshape(-1, images)
    drawn = Sample(np.arange(images), np.zeros(images), list(scores)).draw(draws=1000)
    p = drawn.differences(np.arange(0, 2 * pairs, 2), np.arange(1, 2 * pairs, 2)).p
    assert np.mean(p < 0.05) <= 0.07  # 600 pairs tell it within 1.8 points


@pytest.mark.parametrize("rivals", [5, 10, 20])
def test_of_candidates_that_are_all_as_good_one_loses_its_tie_in_5_percent_of_studies(rivals):
    """The best is chosen from the same data; by Holm 20 would lose one in 20 % of studies."""
    rng, lost, studies = np.random.default_rng(4), 0, 120
    for _ in range(studies):
        scores = nulls(rng, 1, rivals - 1, 120)
        drawn = Sample(np.arange(120), np.zeros(120), list(scores)).draw(draws=1000)
        lost += drawn.behind_best(range(rivals)).min() < 0.05
    assert lost / studies <= 0.08  # 120 studies tell it within 4 points


@pytest.mark.parametrize("rivals", [5, 10, 20])
def test_with_training_noise_from_elsewhere_they_keep_their_ties_as_often(rivals):
    """Single runs whose noise, as large as that of the images, is known with 18 degrees."""
    rng, lost, studies, own = np.random.default_rng(5), 0, 150, 0.045
    for _ in range(studies):
        ease = rng.normal(0.5, 0.1, 120) + rng.normal(0.0, own, (rivals, 1))
        scores = (rng.random((rivals, 120)) < np.clip(ease, 0.0, 1.0)).astype(float)
        size = (100 * own) ** 2 * rng.chisquare(18) / 18
        floors = [Noise(size, size + 20.0, 18.0, 6)]
        drawn = Sample(np.arange(120), np.zeros(120), list(scores)).draw(1000, floors=floors)
        lost += drawn.behind_best(range(rivals)).min() < 0.05
    assert lost / studies <= 0.08


@pytest.mark.parametrize(("rivals", "least"), [(5, 0.15), (10, 0.27), (20, 0.42)])
def test_hsu_s_comparison_with_the_best_would_let_one_of_equals_lose_its_tie_more_often(
    rivals, least
):
    """It keeps the one best, at a level of 5 %; a tie says more of each that is as good."""
    rng = np.random.default_rng(0)
    draws, studies = rng.normal(size=(20_000, rivals)), rng.normal(size=(2_000, rivals))
    of_one = np.quantile(draws.max(1) - draws[:, 0], 0.95)
    of_range = np.quantile(np.ptp(draws, axis=1), 0.95)
    largest = np.ptp(studies, axis=1)
    assert np.mean(largest > of_one) > least
    assert np.mean(largest > of_range) == pytest.approx(0.05, abs=0.015)


def test_one_that_is_clearly_worse_than_the_best_loses_its_tie_and_of_two_p_is_the_pair_s():
    rng = np.random.default_rng(2)
    scores = (rng.random((4, 400)) < [[0.6], [0.6], [0.58], [0.3]]).astype(float)
    drawn = Sample(np.arange(400), np.zeros(400), list(scores)).draw(draws=2000)
    p = drawn.behind_best([0, 1, 2, 3])
    assert p[:3].min() > 0.05
    assert p[3] < 1e-6
    pair = drawn.differences([0], [3]).p
    assert drawn.behind_best([3, 0])[0] == pytest.approx(pair[0], rel=0.2)
    assert list(drawn.behind_best([1])) == [1.0]


def test_of_very_many_candidates_the_p_is_bonferroni_s_and_none_of_equals_loses_its_tie():
    """1,000 have half a million pairs, too many to look at in each draw."""
    rng, rivals = np.random.default_rng(6), 1000
    ease = np.full((rivals, 1), 0.6)
    ease[-1] = 0.05
    scores = (rng.random((rivals, 200)) < ease).astype(float)
    drawn = Sample(np.arange(200), np.zeros(200), list(scores)).draw(draws=200)
    best = int(drawn.here.argmax())
    pair = drawn.differences(range(rivals), [best] * rivals).p
    held = np.minimum(pair * rivals * (rivals - 1) / 2, 1.0)
    p = drawn.behind_best(range(rivals))
    assert p == pytest.approx(np.maximum(pair, held))
    assert p[:-1].min() > 0.05
    assert p[-1] < 0.05


def test_differences_made_some_at_a_time_are_those_made_one_by_one(monkeypatch):
    rng = np.random.default_rng(7)
    scores = (rng.random((9, 60)) < 0.5).astype(float)
    drawn = Sample(np.arange(60), np.arange(60) % 3, list(scores)).draw(draws=300)
    plus, minus = np.triu_indices(9, 1)
    together = drawn.differences(plus, minus), drawn.scores()
    monkeypatch.setattr(draws, "SIDE_BY_SIDE", 4)
    some = drawn.differences(plus, minus), drawn.scores()
    for one, other in zip(together, some, strict=True):
        assert np.array(one) == pytest.approx(np.array(other))


def test_estimates_are_found_by_their_numbers_in_whatever_order_they_were_made():
    rng = np.random.default_rng(3)
    scores = (rng.random((6, 40)) < 0.5).astype(float)
    drawn = Sample(np.arange(40), np.zeros(40), list(scores)).draw(draws=200)
    pairs = {9: (0, 1), 2: (3, 2), 30: (5, 5), 0: (4, 1)}
    known = Numbered()
    for numbers in ([9], [2, 30], [0]):
        plus, minus = zip(*(pairs[number] for number in numbers), strict=True)
        known.add(numbers, drawn.differences(plus, minus))
    assert [number for number in range(40) if number in known] == [0, 2, 9, 30]
    for number, (plus, minus) in pairs.items():
        assert known.interval(number) == drawn.differences([plus], [minus]).interval(0)


def test_being_chosen_flatters_and_the_other_half_shows_it():
    scores = nulls(np.random.default_rng(8), 1, 9)
    found = halves(Sample(np.arange(150), np.zeros(150), list(scores)), np.arange(1, 10), 0)
    assert found.chosen > found.held + 2.0
    assert found.gain > found.held_gain
    assert found.again < 0.6


def test_of_a_clear_winner_the_other_half_tells_the_same():
    rng = np.random.default_rng(8)
    scores = (rng.random((3, 400)) < [[0.4], [0.45], [0.9]]).astype(float)
    found = halves(Sample(np.arange(400), np.zeros(400), list(scores)), [1, 2], 0)
    assert found.again == 1.0
    assert found.chosen == pytest.approx(found.held, abs=0.3)
    assert found.held_gain == pytest.approx(100 * (scores[2] - scores[0]).mean(), abs=0.3)
