"""The intervals that decide rounds: they cover the truth, pair, cluster; F1, several seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from ablate.errors import UserError
from ablate.stats import bootstrap as statistics
from ablate.stats.bootstrap import DRAWS, Sample, compare, paired_bootstrap
from ablate.stats.intervals import Interval


def world(rng, images, per_image, tasks, studies=1, gain=0.05, runs=1, spread=0.0):
    """Answers of pairs of candidates, one better by `gain`: (studies, runs, questions) each.

    Those of a study share the difficulty of each image; `spread`: what seeds do to the chance of
    being right. Questions lie `per_image` on an image, each of another task where that is possible.
    """
    groups = np.repeat(np.arange(images), per_image)
    kinds = (
        (np.arange(len(groups)) % tasks)
        if tasks > per_image
        else np.arange(len(groups)) % (per_image) % tasks
    )
    ease = rng.normal(0.0, 0.2, (studies, 1, images))[:, :, groups]
    chance = np.clip(0.5 + ease, 0.15, 0.8)

    def answers(better):
        luck = rng.normal(0.0, spread, (studies, runs, 1)) if spread else 0.0
        return (rng.random((studies, runs, len(groups))) < chance + better + luck).astype(float)

    return answers(gain), answers(0.0), groups, kinds


def bootstrap(scores, groups, tasks, draws=DRAWS) -> Interval:
    """The composite of one candidate."""
    return Sample(groups, tasks, [scores]).draw(draws).scores().interval(0)


@pytest.mark.parametrize(
    ("images", "per_image", "tasks"),
    [
        (12, 1, 1),
        (12, 4, 4),
        (20, 1, 1),
        (25, 4, 2),
        (100, 4, 4),
        (300, 8, 8),
        (60, 1, 4),
        (200, 2, 16),
    ],
)
def test_the_95_percent_interval_covers_the_true_difference_about_95_percent_of_the_time(
    images, per_image, tasks
):
    a, b, groups, kinds = world(np.random.default_rng(7), images, per_image, tasks, studies=1000)
    drawn = Sample(groups, kinds, [*a, *b]).draw(draws=1000)
    found = drawn.differences(np.arange(1000), np.arange(1000, 2000))
    assert 0.93 <= np.mean((found.low <= 5.0) & (found.high >= 5.0)) <= 0.97
    false = drawn.differences(np.arange(1000, 1999), np.arange(1001, 2000))
    assert 0.03 <= np.mean(false.p < 0.05) <= 0.07


def test_a_score_s_interval_covers_it_too_and_so_does_that_of_one_task():
    _, b, groups, kinds = world(np.random.default_rng(4), 80, 4, 4, studies=1500)
    sample = Sample(groups, kinds, list(b))
    for asked in (sample, sample.only([2])):
        found = asked.draw(draws=1000).scores()
        assert 0.93 <= np.mean((found.low <= 50.0) & (found.high >= 50.0)) <= 0.97


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.08])
def test_with_several_seeds_the_interval_covers_what_another_seed_would_give(spread):
    rng = np.random.default_rng(2)
    studies, covered = 300, 0
    for _ in range(studies):
        a, b, groups, kinds = world(rng, 100, 2, 2, studies=4, gain=0.0, runs=3, spread=spread)
        found = Sample(groups, kinds, [*a, *b]).draw(draws=300).differences([0], [4])
        covered += found.interval(0).tie
    most = 0.98 if spread else 1.0  # where seeds do nothing it is too wide, rather than too narrow
    assert 0.93 <= covered / studies <= most


def _trained(rng, taus, runs, images=100):
    """Candidates that are as good, whose runs differ by `taus` (share of right answers)."""
    luck = rng.normal(0.0, 1.0, (len(taus), runs, 1)) * np.array(taus)[:, None, None]
    ease = np.clip(rng.normal(0.5, 0.1, images) + luck, 0.0, 1.0)
    return (rng.random(ease.shape) < ease).astype(float)


def test_runs_of_others_make_the_interval_of_one_run_hold_training_noise():
    """One candidate trained five times tells how far single runs of the others may be off."""
    rng, alone, held, studies = np.random.default_rng(7), 0, 0, 300
    groups, tasks = np.arange(100), np.zeros(100)
    for _ in range(studies):
        base = _trained(rng, [0.08], 5)
        sample = Sample(groups, tasks, list(_trained(rng, [0.08, 0.08], 1)))
        alone += sample.draw(300).differences([0], [1]).interval(0).tie
        drawn = sample.draw(300, Sample(groups, tasks, list(base)))
        held += drawn.differences([0], [1]).interval(0).tie
        assert drawn.noise is not None
        assert (drawn.noise.freedom, drawn.noise.candidates) == (4.0, 1)
    assert alone / studies < 0.85
    assert 0.93 <= held / studies <= 0.985


def test_no_interval_leaves_the_scale():
    """Three questions and noisy runs: no difference is more than 100 points."""
    others = Sample([0, 1, 2], [0, 0, 0], [[[1, 0, 1], [0, 0, 0]]])
    drawn = Sample([0, 1, 2], [0, 0, 0], [[1, 0, 1], [0, 0, 1]]).draw(100, others)
    found = drawn.differences([0, 1], [1, 0])
    assert (found.low.min(), found.high.max()) == (-100.0, 100.0)
    scores = drawn.scores()
    assert (scores.low.min(), scores.high.max()) == (0.0, 100.0)


def test_without_a_second_run_there_is_no_training_noise_to_know():
    drawn = Sample([0, 1, 2], [0, 0, 0], [[1, 0, 1], [0, 0, 1]]).draw(100)
    assert drawn.noise is None


def test_two_runs_of_one_seed_spread_widen_the_interval_of_the_mean():
    rng = np.random.default_rng(1)
    good, poor = rng.random((2, 1, 400)) < [[[0.8]], [[0.4]]]
    groups, tasks = np.arange(400), np.zeros(400)
    runs = np.concatenate([good, poor]).astype(float)
    both = bootstrap(runs, groups, tasks)
    assert both.estimate == pytest.approx(60.0, abs=4)
    assert both.high - both.low > 3 * (bootstrap(runs[0], groups, tasks).high - both.estimate)
    assert both.freedom < 3


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
    assert interval.estimate == pytest.approx(100 * scores.mean())
    assert interval.high - interval.low == pytest.approx(200 * half, rel=0.05)


def test_each_task_weighs_the_same_however_many_questions_it_has():
    interval = bootstrap([1, 0, 0, 0, 0], range(5), ["rare", *["common"] * 4], draws=10)
    assert interval.estimate == pytest.approx(50.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_f1_is_the_weighted_mean_of_its_questions(pairs):
    truth, said = np.array(pairs).T
    tp, fp, fn = (truth & said).sum(), (~truth & said).sum(), (truth & ~said).sum()
    published = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    scores = truth == said
    weights = truth.astype(float) + said
    interval = bootstrap((scores, weights), range(len(pairs)), ["pope"] * len(pairs), 20)
    assert interval.estimate == pytest.approx(100 * published)
    assert 0.0 <= interval.low <= interval.high <= 100.0


def test_the_interval_is_the_same_every_time_and_in_whatever_order():
    (a,), (b,), groups, tasks = world(np.random.default_rng(1), 150, 4, 4)
    first = paired_bootstrap(a, b, groups, tasks, draws=200)
    assert paired_bootstrap(a, b, groups, tasks, draws=200) == first
    turn = np.random.default_rng(2).permutation(groups.size)
    turned = paired_bootstrap(a[:, turn], b[:, turn], groups[turn], tasks[turn], draws=200)
    assert turned.low == pytest.approx(first.low)
    swapped = paired_bootstrap(b, a, groups, tasks, draws=200)
    assert swapped.low == pytest.approx(-first.high)
    assert swapped.p == first.p


def test_candidates_drawn_together_have_the_intervals_of_each_pair_alone():
    a, b, groups, tasks = world(np.random.default_rng(6), 60, 3, 3, studies=5)
    drawn = Sample(groups, tasks, [*a, *b]).draw(draws=500)
    alone = paired_bootstrap(a[3], b[1], groups, tasks, draws=500)
    together = drawn.differences([3], [6]).interval(0)
    assert together.low == pytest.approx(alone.low)
    assert together.p == pytest.approx(alone.p)
    shares = np.zeros((1, 10))
    shares[0, [3, 6]] = 1.0, -1.0
    assert drawn.contrasts(shares).interval(0).high == pytest.approx(alone.high)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_p_is_below_5_percent_where_the_interval_leaves_zero_out(data):
    bits = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)
    a, b = np.array(data.draw(bits), dtype=float).T
    found = paired_bootstrap(a, b, np.arange(len(a)), np.zeros(len(a)), draws=400)
    assert 0.0 <= found.p <= 1.0
    assert (found.p < 0.05) == (not found.tie)


def test_a_p_value_can_be_smaller_than_draws_can_show():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 2000)) < [[0.7], [0.5]]).astype(float)
    found = paired_bootstrap(a, b, np.arange(2000), np.zeros(2000), draws=1000)
    assert 0.0 < found.p < 1e-12
    assert paired_bootstrap(a, a, np.arange(2000), np.zeros(2000), draws=1000).p == 1.0


@pytest.mark.parametrize("images", [1, 5, 6, 40])
def test_where_every_image_says_the_same_the_interval_is_the_exact_one(images):
    """Clopper and Pearson's for scores that are all right; the sign test where all turned right."""
    right, wrong, one = np.ones(images), np.zeros(images), np.zeros(images)
    score = bootstrap(right, np.arange(images), one)
    assert score.high == 100.0
    assert score.low == pytest.approx(100 * binomtest(images, images).proportion_ci().low)
    gain = paired_bootstrap(right, wrong, np.arange(images), one)
    assert gain.p == pytest.approx(binomtest(images, images).pvalue)
    assert gain.tie == (gain.p >= 0.05)
    same = paired_bootstrap(right, right, np.arange(images), one)
    assert (same.estimate, same.p) == (0.0, 1.0)
    assert same.high == pytest.approx(-same.low) == pytest.approx(100.0 - score.low)


def test_five_flips_of_six_images_are_worth_what_student_s_t_says():
    found = paired_bootstrap([1, 1, 1, 1, 1, 0], [0] * 6, range(6), ["t"] * 6)
    assert found.p == pytest.approx(ttest_1samp([1, 1, 1, 1, 1, 0], 0.0).pvalue, rel=0.01)


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
    interval = compare([rows([1, 1, 0, 1])], [rows([1, 0, 0, 0])[::-1]], draws=100)
    assert interval.estimate == pytest.approx(50.0)


def test_candidates_with_different_questions_are_not_compared():
    with pytest.raises(UserError, match=r"different questions.*abl_ocr 2"):
        compare([rows([1, 0, 1])], [rows([1, 0])])


def test_the_same_questions_about_other_images_are_not_compared():
    moved = [{**row, "image": "images/other.png"} for row in rows([1, 0, 1])]
    with pytest.raises(UserError, match="different questions"):
        compare([rows([1, 0, 1])], [moved])


def test_over_very_many_images_there_are_fewer_resamples(monkeypatch):
    (a,), _, groups, tasks = world(np.random.default_rng(3), 150, 4, 4)
    few, many = (bootstrap(a, groups, tasks, draws=draws) for draws in (1_000, 10_000))
    monkeypatch.setattr(statistics, "WORK", 1)
    assert bootstrap(a, groups, tasks, draws=10_000) == few != many


def test_draws_that_are_not_kept_say_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    scores = [rng.random((1 + number % 3, 24)) for number in range(20)]  # of one run, two, three
    sample = Sample(np.arange(24) // 2, np.arange(24) % 2, scores)
    kept = sample.draw(1000)
    monkeypatch.setattr(statistics, "KEPT", 0)
    anew = sample.draw(1000)
    assert anew.nbytes == kept.nbytes - kept.drawn.nbytes
    shares = rng.normal(size=(2, 20))
    for one, other in (
        (kept.scores(), anew.scores()),
        (kept.differences([3, 19, 4], [0, 0, 3]), anew.differences([3, 19, 4], [0, 0, 3])),
        (kept.contrasts(shares), anew.contrasts(shares)),
        ([kept.behind_best([9, 2, 5])], [anew.behind_best([9, 2, 5])]),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)
