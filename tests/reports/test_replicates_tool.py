"""`tools/replicates.py` holds runs that differ in their seed against what one of them says."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import STUDY, Run, study

from ablate.config.study import load_study
from ablate.reports.load import load
from ablate.reports.model import StudyResult
from ablate.search.replay import replay
from ablate.search.results_csv import read_csv
from ablate.stats.bootstrap import Sample
from tools import replicates

ARMS = """
seeds: [0, 1, 2]
explore:
  kind: arms
  axis: mixture
  arms:
    - {name: clip, set: {encoders: [clip-micro]}}
    - {name: with sam, set: {encoders: [clip-micro, sam-micro]}}
    - {name: with dinov2, set: {encoders: [clip-micro, dinov2-micro]}}
    - {name: with both, set: {encoders: [clip-micro, sam-micro, dinov2-micro]}}
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Four mixtures under three seeds each, on 16 images."""
    folder = tmp_path_factory.mktemp("replicates")
    subject = study(folder, STUDY + ARMS, "subsets")
    Run(folder, subject, images=16).rounds()
    return load(subject, folder)


def runs_that_spread(by: float) -> list[np.ndarray]:
    """Three runs of a candidate over 200 questions that are right in about 50 % less or more."""
    rng = np.random.default_rng(0)
    return [rng.random((1, 200)) < 0.5 + step * by for step in (-1, 0, 1)]


@pytest.mark.parametrize(
    ("by", "inside", "different"), [(0.0, (6, 6), (0, 3)), (0.4, (0, 6), (3, 3))]
)
def test_runs_far_apart_are_outside_and_differ(by, inside, different):
    runs = runs_that_spread(by)
    draws = Sample(range(200), ["one"] * 200, runs).draw(1000)
    assert replicates.count_inside(draws) == inside
    assert replicates.count_different(draws) == different


def test_noise_of_others_widens_the_interval_of_a_single_run():
    noisy = Sample(range(200), ["one"] * 200, [np.concatenate(runs_that_spread(0.4))])
    draws = Sample(range(200), ["one"] * 200, runs_that_spread(0.4)).draw(1000, noisy)
    assert replicates.count_inside(draws)[0] > 0
    assert replicates.count_different(draws)[0] == 0


def test_deviations_are_pooled_over_candidates():
    runs = [[{"a": 1.0}, {"a": 3.0}], [{"a": 10.0}, {"a": 10.0}, {"a": 10.0}]]
    assert replicates.deviations(runs) == {"a": pytest.approx((2.0 / 3) ** 0.5)}


def test_greedy_misses_a_best_mixture_that_lies_behind_a_worse_one():
    scores = {"": 1.0, "a": 3.0, "b": 2.0, "c": 2.5, "ab": 3.5, "ac": 3.2, "bc": 9.0, "abc": 3.0}
    mixtures = {frozenset({"base", *name}): score for name, score in scores.items()}
    assert replicates.greedy(mixtures) == {"base", "a", "b"}


def test_what_it_says_and_writes_of_a_study(played: StudyResult, tmp_path: Path) -> None:
    said = "\n".join(replicates.describe(played))
    for one in played.candidates:
        assert f"{one.name:<11} {one.seed_scores[0]:5.1f}" in said
    assert "(8 degrees of freedom)" in said
    assert "of 24 (" in said
    assert "of 12 (" in said
    assert said.count("the best of 4 is") == 4  # three runs and their mean

    replicates.write_csv(played, tmp_path / "scores.csv")
    search = load_study("micro/rounds", ["seeds=[0,1,2]", "explore.pool=[sam-micro,dinov2-micro]"])
    found = replay(read_csv(tmp_path / "scores.csv", search))
    assert len(found.tabulated) == 4
    assert {round(score, 3) for score in found.tabulated.values()} == {
        round(one.composite or 0.0, 3) for one in played.candidates
    }


def test_a_study_without_a_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(SystemExit, match="nothing is scored"):
        list(replicates.describe(load(load_study("micro/experts"), tmp_path)))
