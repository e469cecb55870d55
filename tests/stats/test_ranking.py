"""What trusting a proxy is worth: ranks, lines, choices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from ablate.stats.ranking import Round, hit_rate


def rounds(*pairs: tuple[list[float], list[float]]) -> list[Round]:
    return [(np.array(proxy), np.array(scores)) for proxy, scores in pairs]


def test_a_proxy_that_tells_the_order_within_rounds_is_perfect_whatever_lies_between_them() -> None:
    rate = hit_rate(rounds(([1.0, 2.0, 3.0], [30.0, 40.0, 50.0]), ([7.0, 6.0], [9.0, 8.0])))
    assert rate is not None
    assert (rate.hits, rate.rounds, rate.candidates, rate.keep) == (2, 2, 5, 1)
    assert (rate.rank, rate.regret, rate.worst) == (pytest.approx(1.0), 0.0, 0.0)


def test_regret_is_what_its_choice_is_behind_and_keep_what_would_have_held_the_best() -> None:
    rate = hit_rate(rounds(([3.0, 2.0, 1.0], [10.0, 14.0, 11.0]), ([1.0, 2.0], [5.0, 6.0])))
    assert rate is not None
    assert (rate.hits, rate.regret, rate.worst, rate.keep) == (1, 2.0, 4.0, 2)


def test_one_candidate_is_no_choice_and_equal_numbers_tell_nothing() -> None:
    assert hit_rate(rounds(([1.0], [2.0]))) is None
    rate = hit_rate(rounds(([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])))
    assert rate is not None
    assert (rate.rank, rate.fit, rate.left_out, rate.keep) == (None, None, None, 3)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=4, max_size=9))
def test_one_round_is_the_textbook_s_rank_correlation_and_press(
    pairs: list[tuple[float, float]],
) -> None:
    proxy, scores = (np.array(side) for side in zip(*pairs, strict=True))
    if min(proxy.std(), scores.std()) < 1e-3:
        return
    rate = hit_rate([(proxy, scores)])
    assert rate is not None
    assert rate.rank == pytest.approx(spearmanr(proxy, scores).statistic)
    squares = errors = alone = 0.0
    for n in range(len(proxy)):
        others = np.arange(len(proxy)) != n
        if proxy[others].std() < 1e-3:
            return
        slope, intercept = np.polyfit(proxy[others], scores[others], 1)
        errors += float((scores[n] - slope * proxy[n] - intercept) ** 2)
        alone += float((scores[n] - scores[others].mean()) ** 2)
    slope, intercept = np.polyfit(proxy, scores, 1)
    squares = float(((scores - slope * proxy - intercept) ** 2).sum())
    assert rate.left_out == pytest.approx(1.0 - errors / alone, rel=1e-4, abs=1e-4)
    total = float(((scores - scores.mean()) ** 2).sum())
    assert rate.fit == pytest.approx(1.0 - squares / total, abs=1e-6)
