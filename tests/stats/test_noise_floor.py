"""The noise floor keeps its word on what was measured: six micro candidates, four seeds each."""

from itertools import combinations, permutations
from statistics import variance

import numpy as np
import pytest

from ablate.stats.bootstrap import Sample
from ablate.stats.draws import Draws
from ablate.stats.noise import Noise, pooled, squares_within

MEASURED = {
    "clip": (26.4, 23.4, 26.6, 25.5),
    "+dinov2": (31.6, 34.4, 35.5, 32.5),
    "+sam": (43.4, 42.9, 42.9, 43.7),
    "+p2s": (46.9, 46.6, 53.8, 51.9),
    "+p2s+convnext": (62.0, 58.2, 61.5, 60.5),
    "+p2s+sam": (60.8, 62.3, 61.9, 56.2),
}
"""Composites by seed, with POPE by F1; of a single run questions alone make an error of 1.1."""
OF_IMAGES = 1.28**2 / 2
"""What questions make of the difference between two runs, per run."""


def floor(*left_out: str) -> Noise:
    """The floor by all candidates but those."""
    scores = [runs for name, runs in MEASURED.items() if name not in left_out]
    crude = float(np.mean([variance(runs) for runs in scores]))
    return Noise(crude - OF_IMAGES, crude, 3.0 * len(scores), len(scores))


def single_runs(noise: Noise | None) -> Draws:
    """Two candidates of one run each with the errors of images that the micro suite has."""
    rng = np.random.default_rng(0)
    answers = (rng.random((2, 1600)) < 0.3).astype(float)
    sample = Sample(np.arange(1600), np.arange(1600) % 8, list(answers))
    return sample.draw(2000, floors=[noise] if noise else [])


def reach(noise: Noise | None) -> tuple[float, float]:
    """How far the interval of a score reaches, and that of a difference."""
    draws = single_runs(noise)
    both = (draws.scores(), draws.differences([0], [1]))
    score, difference = (float((one.high - one.low)[0]) / 2 for one in both)
    return score, difference


def test_the_interval_of_one_seed_holds_another_seed_s_score_in_93_to_97_percent() -> None:
    inside = different = alone = 0
    bare, _ = reach(None)
    for name, runs in MEASURED.items():
        score, difference = reach(floor(name))  # as others have it: none of its own runs
        pairs = [abs(a - b) for a, b in permutations(runs, 2)]
        inside += sum(pair <= score for pair in pairs)
        alone += sum(pair <= bare for pair in pairs)
        once = [abs(a - b) for a, b in combinations(runs, 2)]
        different += sum(pair > difference for pair in once)
    assert 0.93 <= inside / 72 <= 0.97
    assert different / 36 <= 0.07
    assert alone / 72 < 0.7  # what questions alone say


@pytest.mark.parametrize("freedom", [4.0, 18.0])
def test_a_floor_measured_elsewhere_counts_as_so_many_runs_of_ours(freedom: float) -> None:
    runs = np.random.default_rng(1).random((3, 50)) < [[0.4], [0.5], [0.6]]
    own = squares_within(Sample(np.arange(50), np.zeros(50), [runs.astype(float)]))
    given = Noise(4.0, 5.0, freedom, 6)
    both = pooled([own], [given])
    assert both is not None
    assert both.freedom == 2.0 + freedom
    assert both.candidates == 7
    assert both.crude == pytest.approx((own.crude[0] + 5.0 * freedom) / (2.0 + freedom))
    assert pooled([], [given]) == given
    assert pooled([]) is None


def test_a_single_run_has_the_floor_and_a_few_runs_their_own_shrunk_to_it() -> None:
    rng = np.random.default_rng(2)
    scores = [rng.random((1, 400)) < 0.5, rng.random((4, 400)) < 0.5]
    sample = Sample(np.arange(400), np.zeros(400), [one.astype(float) for one in scores])
    quiet, loud = (
        sample.draw(200, floors=[Noise(size, size + 1.0, 18.0, 6)]) for size in (1.0, 25.0)
    )
    assert (loud.scores().error > quiet.scores().error).all()
    gaps = loud.scores().error - quiet.scores().error
    assert gaps[0] > 2 * gaps[1]
    assert quiet.scores().freedom[0] > quiet.scores().freedom[1] / 3


def simulated(rng: np.random.Generator, taus: list[float], runs: int) -> np.ndarray:
    """Candidates that are as good, whose runs differ by `taus`, twice: (2, C, runs, questions)."""
    luck = rng.normal(0.0, 1.0, (2, len(taus), runs, 1)) * np.array(taus)[:, None, None]
    ease = np.clip(rng.normal(0.5, 0.1, 200) + luck, 0.0, 1.0)
    return (rng.random(ease.shape) < ease).astype(float)


@pytest.mark.parametrize("runs", [2, 4])
def test_a_candidate_four_times_as_noisy_is_covered_in_93_to_97_percent(runs: int) -> None:
    """Of four times the variance of five others: pooled blindly it is covered in 80 %."""
    rng, studies, score, difference, quiet = np.random.default_rng(6), 300, 0, 0, 0
    for _ in range(studies):
        here, again = simulated(rng, [0.06, *[0.03] * 5], runs)
        draws = Sample(np.arange(200), np.zeros(200), list(here)).draw(200)
        found, once_more = draws.scores(), 100 * again.mean((1, 2))
        inside = (found.low <= once_more) & (once_more <= found.high)
        score, quiet = score + inside[0], quiet + inside[1]
        difference += draws.differences([0], [1]).interval(0).tie
    assert 0.92 <= score / studies <= 0.98  # 300 studies tell it within 2.5 points
    assert 0.92 <= difference / studies <= 0.98
    assert quiet / studies >= 0.93
