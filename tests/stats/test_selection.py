"""Races: the best stays to the promised probability, and what stops early is no better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.stats.bootstrap import Sample
from ablate.stats.selection import (
    WHOLE,
    Look,
    Spread,
    crossing_spread,
    image_spread,
    judge,
)

NOISE, FREEDOM = 2.2, 9
CROSSING = (4.0, 2.0, 0.0)
SEEDS = (1, 1, 2)


def raced(rng, truth, indifference, crossings=CROSSING, seeds=SEEDS):
    """The last verdict of a race between rivals named by their place in `truth`.

    Spreads are as estimated, with few degrees of freedom; a rival's runs and its crossing stay the
    same from look to look.
    """

    def estimated(deviation):
        return Spread(deviation**2 * rng.chisquare(FREEDOM) / FREEDOM, FREEDOM)

    runs, slow = rng.normal(0.0, NOISE, (len(truth), max(seeds))), rng.normal(size=len(truth))
    looks, names, noise = [], [str(n) for n in range(len(truth))], estimated(NOISE)
    for crossing, seen in zip(crossings, seeds, strict=True):
        means = [truth[n] + crossing * slow[n] + runs[n, :seen].mean() for n in map(int, names)]
        spread = estimated(crossing) if crossing else WHOLE
        looks.append(Look(names, means, [seen] * len(names), noise=noise, crossing=spread))
        verdict = judge(looks, len(crossings), indifference)
        names = [verdict.leader, *verdict.open]
        if not verdict.open:
            break
    return verdict


@pytest.mark.parametrize("truth", [[0.0] * 5, [0.0, -0.5, -3.0, -6.0], [0.0, -8.0]])
def test_the_best_is_out_in_at_most_five_percent_of_races(truth):
    rng = np.random.default_rng(3)
    out = sum("0" in raced(rng, truth, 1.0).out for _ in range(1000))
    assert out / 1000 <= 0.06


@pytest.mark.parametrize("indifference", [1.0, 4.0, 8.0])
def test_a_race_in_which_nothing_is_open_found_the_best_or_one_as_good(indifference):
    rng, wrong, ended = np.random.default_rng(4), 0, 0
    truth = [0.0, *[-1.01 * indifference] * 4]
    for _ in range(1000):
        verdict = raced(rng, truth, indifference)
        ended += not verdict.open
        wrong += not verdict.open and truth[int(verdict.leader)] < -indifference
    assert wrong / 1000 <= 0.06
    assert ended > 0 or indifference < 4.0


@pytest.mark.parametrize("images", [12, 25, 100, 400])
def test_with_few_images_the_best_is_out_in_at_most_five_percent(images):
    rng, out = np.random.default_rng(images), 0
    asked = np.repeat(np.arange(images), 2)
    for _ in range(400):
        chance = rng.uniform(0.3, 0.9, images)[asked]
        answers = (rng.random((4, len(asked))) < chance).astype(float)
        looks = []
        for share in (0.5, 1.0):
            some = asked < share * images
            sample = Sample(asked[some], np.zeros(some.sum()), list(answers[:, some]))
            means = 100.0 * answers[:, some].mean(1)
            looks.append(Look("abcd", means, [1] * 4, image_spread(sample), noise=Spread(0.0)))
        out += "a" in judge(looks, 2).out  # all are as good, so any is the best
    assert out / 400 <= 0.06


def test_the_error_of_images_is_that_of_the_bootstrap_without_a_draw():
    rng = np.random.default_rng(0)
    images = np.repeat(np.arange(40), 3)
    tasks = np.where(images < 25, np.arange(120) % 2, 2)
    candidates = [(rng.random(120) < 0.6, rng.integers(0, 3, 120)) for _ in range(3)]
    candidates[2] = (rng.random((2, 120)) < 0.5, np.ones((2, 120)))
    sample = Sample(images, tasks, candidates)
    found = image_spread(sample)
    drawn = Sample(images, tasks, candidates[:2]).draw(1000).differences([0], [1]).interval(0)
    assert np.sqrt(found.variance[0, 1]) == pytest.approx(drawn.error)
    assert found.freedom[0, 1] == pytest.approx(drawn.freedom)
    assert np.allclose(found.variance, found.variance.T)
    assert np.allclose(np.diag(found.variance), 0.0)


def look(names, means, error=0.1, **fields):
    return Look(names, means, [1] * len(means), noise=Spread(error**2 / 2), **fields)


def test_what_is_far_behind_is_out_and_what_is_as_good_rests():
    verdict = judge([look("abcd", [50.0, 49.8, 45.0, 49.2])], 1, indifference=1.0)
    assert verdict.leader == "a"
    assert verdict.out == ("d", "c")  # by their means
    assert verdict.equal == ("b",)
    assert verdict.open == ()
    assert verdict.ranked == ("a", "b", "d", "c")
    assert verdict.proved
    assert verdict.good == pytest.approx(1.0, abs=1e-6)


def test_what_rests_is_open_again_where_another_takes_the_lead():
    first = look("abc", [50.0, 48.5, 49.5], error=1.0)
    resting = judge([first], 2, indifference=1.0)
    assert (resting.equal, resting.open) == (("b",), ("c",))
    second = look("ac", [47.0, 51.0])
    verdict = judge([first, second], 2, indifference=1.0)
    assert (verdict.leader, verdict.out) == ("c", ("a",))
    assert verdict.open == ("b",)  # was as good as the leader then, not as the one now
    assert verdict.ranked == ("c", "b", "a")


def test_a_gap_at_a_part_of_the_training_has_to_exceed_what_candidates_cross_by():
    means = [50.0, 44.0]
    assert judge([look("ab", means)], 1).out == ("b",)
    assert judge([look("ab", means, crossing=Spread(3.0**2, 8.0))], 1).open == ("b",)


@pytest.mark.parametrize("unknown", ["noise", "crossing"])
@pytest.mark.parametrize(("rivals", "on"), [(2, 2), (4, 3), (7, 4), (10, 5)])
def test_where_a_spread_is_not_known_the_best_half_goes_on_at_least_three(unknown, rivals, on):
    fields = {"noise": Spread(1.0), "crossing": WHOLE, unknown: None}
    names = [f"n{n}" for n in range(rivals)]
    verdict = judge([Look(names, np.arange(rivals), np.ones(rivals), **fields)], 3)
    assert (verdict.leader, *verdict.open) == tuple(names[::-1][:on])
    assert len(verdict.out) == rivals - on
    assert not verdict.proved
    assert verdict.good is None


def test_a_single_rival_leads():
    verdict = judge([look("a", [50.0])], 1)
    assert (verdict.leader, verdict.open, verdict.good) == ("a", (), 1.0)


def test_more_looks_than_announced_and_an_indifference_below_zero_are_errors():
    with pytest.raises(ValueError, match="2 looks, announced were 1"):
        judge([look("ab", [1.0, 2.0])] * 2, 1)
    with pytest.raises(ValueError, match="below zero"):
        judge([look("ab", [1.0, 2.0])], 1, indifference=-1.0)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=9), st.floats(0.0, 5.0))
def test_every_rival_has_one_place(means, indifference):
    names = [f"n{n}" for n in range(len(means))]
    found = judge([look(names, means, error=1.0)], 2, indifference)
    assert sorted((found.leader, *found.out, *found.equal, *found.open)) == names
    assert sorted(found.ranked) == names
    assert means[names.index(found.leader)] == max(means)


def test_the_probability_of_a_good_choice_is_no_more_than_how_often_it_is_one():
    rng, said, right = np.random.default_rng(5), [], []
    for _ in range(2000):
        truth = rng.normal(0.0, 3.0, 5)
        names = [str(n) for n in range(5)]
        means = truth + rng.normal(0.0, NOISE, 5)
        verdict = judge([look(names, means, error=NOISE * 2**0.5)], 1, indifference=1.0)
        said.append(verdict.good)
        right.append(truth.max() - truth[int(verdict.leader)] <= 1.0)
    assert np.mean(said) <= np.mean(right) + 0.02
    sure = np.array(said) > 0.95
    assert np.mean(np.array(right)[sure]) >= 0.94


def test_the_crossing_is_how_candidates_of_a_group_move_against_each_other():
    rng = np.random.default_rng(6)
    groups = []
    for _ in range(300):
        part = rng.normal(40.0, 5.0, 4)
        groups.append(list(zip(part, part + 12.0 + rng.normal(0.0, 3.0, 4), strict=True)))
    found = crossing_spread(groups)
    assert found.freedom == 900
    assert found.variance == pytest.approx(9.0, rel=0.1)


def test_the_crossing_is_not_known_without_two_pairs_of_one_group():
    assert crossing_spread([]) is None
    assert crossing_spread([[(1.0, 2.0)], [(3.0, 9.0)]]) is None
    assert crossing_spread([[(1.0, 2.0), (1.0, 4.0)], [(3.0, 9.0)]]) == Spread(2.0, 1.0)


def kim_nelson(runs, noise, freedom, indifference, rivals):
    """How far behind the best a rival is screened out after so many runs of each (KN, 2001)."""
    level = 2.0 * 0.05 / (rivals - 1)
    squared = freedom * (level ** (-2.0 / freedom) - 1.0)
    return (squared * 2.0 * noise**2 / indifference - runs * indifference) / (2.0 * runs)


@pytest.mark.parametrize("freedom", [9, 18, 60])
@pytest.mark.parametrize("runs", [2, 4, 6])
def test_at_few_looks_less_of_a_gap_settles_a_race_than_kim_and_nelson_want(runs, freedom):
    means = np.zeros(5)
    for gap in np.arange(0.0, 6.0, 0.05):
        means[0] = gap
        seen = Look("abcde", means, [runs] * 5, noise=Spread(1.0, freedom))
        one = Look("abcde", means, [1] * 5, noise=Spread(1e6, freedom))
        if not judge([*[one] * (runs - 1), seen], runs, indifference=1.0).open:
            break
    assert gap < kim_nelson(runs, 1.0, freedom, 1.0, rivals=5)
