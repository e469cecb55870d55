"""What a choice hangs on: held against a plain loop over the same resamples, and known cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.stats import fragility as module
from ablate.stats.fragility import Choice, fragility


def by_hand(scores, choices, draws):
    """The same by a loop over draws, candidates and benchmarks; the draws alone are shared."""
    count = len(scores[0])
    rng = np.random.default_rng(module.SEED)
    every = rng.multinomial(count, np.full(count, 1.0 / count), size=draws).tolist()

    def best(rivals, times):
        means = [sum(t * s for t, s in zip(times, scores[one], strict=True)) for one in rivals]
        return next(n for n, mean in enumerate(means) if mean >= max(means) - 1e-9)

    found = []
    for choice in choices:
        chosen = [best(choice.rivals, times) for times in every]
        without = [
            best(choice.rivals, [int(n != left) for n in range(count)]) for left in range(count)
        ]
        shares = [chosen.count(n) / draws for n in range(len(choice.rivals))]
        found.append((best(choice.rivals, [1] * count), without, shares, chosen))
    kept = (
        sum(all(chosen[n] == winner for winner, _, _, chosen in found) for n in range(draws))
        / draws
    )
    return found, kept


@settings(deadline=None, max_examples=40)
@given(
    st.integers(2, 6).flatmap(
        lambda benchmarks: st.lists(
            st.lists(st.integers(0, 1000).map(lambda n: n / 10), min_size=benchmarks,
                     max_size=benchmarks),
            min_size=2, max_size=6,
        )
    )
)  # fmt: skip
def test_every_figure_is_that_of_a_plain_loop(scores):
    half = max(1, len(scores) // 2)
    choices = [Choice(range(len(scores))), Choice(range(half))]
    expected, kept = by_hand(scores, choices, 200)
    path = fragility(scores, choices, draws=200)
    for one, (winner, without, shares, _) in zip(path.choices, expected, strict=True):
        assert one.winner == winner
        assert one.without.tolist() == without
        assert one.wins == pytest.approx(shares)
    assert path.kept == pytest.approx(kept)


def test_a_candidate_ahead_everywhere_wins_always_and_one_behind_never() -> None:
    path = fragility([[10, 20, 30], [11, 21, 31]], [Choice([0, 1], [None, 0])])
    (found,) = path.choices
    assert (found.winner, found.without.tolist()) == (1, [1, 1, 1])
    assert found.wins.tolist() == [0.0, 1.0]
    assert np.isnan(found.above[0])
    assert found.above[1] == 1.0
    assert path.kept == 1.0


def test_a_lead_that_one_benchmark_makes_is_lost_without_it() -> None:
    """Ahead by it as often as it is drawn at all: 1 - (3/4)^4 of resamples."""
    path = fragility([[1, 5, 5, 5], [0, 5, 5, 5]], [Choice([1, 0])])
    (found,) = path.choices
    assert found.winner == 1
    assert found.without.tolist() == [0, 1, 1, 1]
    assert found.wins[1] == pytest.approx(1 - 0.75**4, abs=0.005)
    assert path.kept == found.wins[1]


def test_equal_ones_are_the_first_s_however_their_sums_round() -> None:
    scores = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.2, 0.2]]
    (found,) = fragility(scores, [Choice([0, 1, 2])]).choices
    assert found.winner == 0


def test_a_path_is_kept_where_all_its_choices_are() -> None:
    """One is lost where the second benchmark alone is drawn, the other where the first is."""
    scores = [[1, 0], [0, 0.9], [0, 1], [0.9, 0]]
    path = fragility(scores, [Choice([0, 1]), Choice([2, 3])])
    assert [one.wins[0] for one in path.choices] == pytest.approx([0.75, 0.75], abs=0.005)
    assert path.kept == pytest.approx(0.5, abs=0.005)


def test_of_one_benchmark_nothing_can_be_left_out() -> None:
    path = fragility([[1.0], [2.0]], [Choice([0, 1])])
    (found,) = path.choices
    assert found.without.size == 0
    assert (found.wins.tolist(), path.kept) == ([0.0, 1.0], 1.0)


def test_memory_is_bounded_and_the_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    scores, choice = rng.random((5, 7)), [Choice(range(5))]
    whole = fragility(scores, choice, draws=999)
    monkeypatch.setattr(module, "_BLOCK", 5 * 100)
    blocks = fragility(scores, choice, draws=999)
    assert blocks.choices[0].wins.tolist() == whole.choices[0].wins.tolist()
    assert blocks.kept == whole.kept


def test_of_many_candidates_there_are_fewer_draws_but_never_few() -> None:
    assert fragility(np.ones((3, 2)), [Choice([0, 1, 2])]).draws == module.DRAWS
    assert fragility(np.ones((5000, 2)), [Choice(range(5000))]).draws == module.FEWEST
