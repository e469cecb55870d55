"""The intervals that decide rounds: they cover the truth, pair, cluster and handle F1."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.errors import UserError
from ablate.evaluate import statistics
from ablate.evaluate.statistics import Interval, bootstrap, compare, paired_bootstrap


def world(rng, images=150, per_image=4):
    """Scores of two candidates that share the difficulty of each image; b is 0.05 better."""
    groups = np.repeat(np.arange(images), per_image)
    tasks = np.tile(np.arange(per_image), images)
    ease = rng.normal(0.0, 0.25, images)[groups]
    draw = rng.random((2, len(groups)))
    chance = np.clip(0.5 + ease, 0.1, 0.85)
    a = (draw[0] < chance).astype(float)
    b = (draw[1] < chance + 0.05).astype(float)
    return a, b, groups, tasks


def test_the_95_percent_interval_covers_the_true_difference_about_95_percent_of_the_time():
    rng = np.random.default_rng(7)
    runs = 600
    covered = 0
    for run in range(runs):
        a, b, groups, tasks = world(rng)
        interval = paired_bootstrap(b, a, groups, tasks, draws=400, seed=run)
        covered += interval.low <= 0.05 <= interval.high
    assert 0.925 <= covered / runs <= 0.975


def test_questions_of_one_image_are_resampled_together():
    rng = np.random.default_rng(0)
    per_image = rng.integers(0, 2, 100).astype(float)
    scores, groups = np.repeat(per_image, 10), np.repeat(np.arange(100), 10)
    tasks = np.zeros(1000)
    clustered = bootstrap(scores, groups, tasks)
    alone = bootstrap(scores, np.arange(1000), tasks)
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.1)


def test_pairing_takes_out_what_is_hard_for_both():
    rng = np.random.default_rng(3)
    b = rng.integers(0, 2, 400).astype(float)
    a = b.copy()
    a[:8] = 1.0 - a[:8]
    groups, tasks = np.arange(400), np.zeros(400)
    paired = paired_bootstrap(a, b, groups, tasks)
    alone = bootstrap(a, groups, tasks)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_the_interval_of_a_mean_agrees_with_the_normal_one():
    rng = np.random.default_rng(5)
    scores = rng.random(500)
    interval = bootstrap(scores, np.arange(500), np.zeros(500))
    half = 1.96 * scores.std() / np.sqrt(500)
    assert interval.estimate == pytest.approx(scores.mean())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)


def test_each_task_weighs_the_same_however_many_questions_it_has():
    interval = bootstrap([1, 0, 0, 0, 0], range(5), ["rare", *["common"] * 4], draws=10)
    assert interval.estimate == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_f1_is_the_weighted_mean_of_its_questions(pairs):
    truth, said = np.array(pairs).T
    tp, fp, fn = (truth & said).sum(), (~truth & said).sum(), (truth & ~said).sum()
    published = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    scores = truth == said
    weights = truth.astype(float) + said
    interval = bootstrap(scores, range(len(pairs)), ["pope"] * len(pairs), 20, weights=weights)
    assert interval.estimate == pytest.approx(published)
    assert 0.0 <= interval.low <= interval.high <= 1.0


def test_the_same_seed_gives_the_same_interval_and_order_does_not_matter():
    a, b, groups, tasks = world(np.random.default_rng(1))
    first = paired_bootstrap(a, b, groups, tasks, draws=200)
    assert paired_bootstrap(a, b, groups, tasks, draws=200) == first
    turn = np.random.default_rng(2).permutation(len(a))
    turned = paired_bootstrap(a[turn], b[turn], groups[turn], tasks[turn], draws=200)
    assert turned.low == pytest.approx(first.low)
    swapped = paired_bootstrap(b, a, groups, tasks, draws=200)
    assert swapped.low == pytest.approx(-first.high)


def test_a_tie_is_an_interval_that_holds_zero():
    assert Interval(0.4, -0.1, 0.9).tie
    assert not Interval(0.4, 0.1, 0.9).tie
    assert not Interval(-0.4, -0.9, -0.1).tie


def rows(scores):
    return [
        {"task": "abl_ocr", "id": str(i), "image": f"images/{i}.png", "score": s, "weight": 1.0}
        for i, s in enumerate(scores)
    ]


def test_rows_of_two_candidates_are_paired_by_question_in_points():
    interval = compare(rows([1, 1, 0, 1]), rows([1, 0, 0, 0])[::-1], draws=100)
    assert interval.estimate == pytest.approx(50.0)


def test_candidates_with_different_questions_are_not_compared():
    with pytest.raises(UserError, match=r"different questions.*abl_ocr 2"):
        compare(rows([1, 0, 1]), rows([1, 0]))


def test_the_same_questions_about_other_images_are_not_compared():
    moved = [{**row, "image": "images/other.png"} for row in rows([1, 0, 1])]
    with pytest.raises(UserError, match="different questions"):
        compare(rows([1, 0, 1]), moved)


def test_over_very_many_images_there_are_fewer_resamples(monkeypatch):
    a, _, groups, tasks = world(np.random.default_rng(3))
    few, many = (bootstrap(a, groups, tasks, draws=draws) for draws in (1_000, 10_000))
    monkeypatch.setattr(statistics, "WORK", 1)
    assert bootstrap(a, groups, tasks, draws=10_000) == few != many
