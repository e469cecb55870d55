"""What masks tell of each expert, on answers whose truth is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from reading import words

from ablate.reports.model import StudyResult
from ablate.reports.redundancy import Redundancy, part_table, rate_table, summary
from ablate.reports.site import build
from ablate.store.masks import MaskedRun, masks

EXPERTS = ["clip-micro@32", "pix2struct-micro@128", "sam-micro@128"]
QUESTIONS = 400


def run(right: dict[tuple[int, ...], float]) -> MaskedRun:
    """So large a share of the first task right under each mask, and of the second the half."""
    kept = [tuple(one) for one in masks(len(EXPERTS))]
    half = QUESTIONS // 2
    scores = [
        [float(n < share * half) for n in range(half)]
        + [float(n < 0.5 * half) for n in range(half)]
        for share in (right[one] for one in kept)
    ]
    names = [f"abl_{task}" for task in ("ocr", "gqa") for _ in range(half)]
    questions = [(task, str(n), str(n)) for n, task in enumerate(names)]
    return MaskedRun("zeros", EXPERTS, questions, kept, scores, np.ones_like(scores).tolist(), 1.0)


RIGHT = {
    (0, 1, 2): 0.8,
    (1, 2): 0.7,
    (0, 2): 0.6,
    (0, 1): 0.85,
    (0,): 0.4,
    (1,): 0.3,
    (2,): 0.2,
}


@pytest.fixture
def found(brief: StudyResult) -> Redundancy:
    candidate = brief.candidates[0]
    subject = dataclasses.replace(brief, masked={candidate.name: [run(RIGHT)]})
    return Redundancy(subject, candidate, subject.masked[candidate.name][0])


def test_the_utilisation_rate_is_the_part_of_the_score_that_is_lost(found: Redundancy) -> None:
    rates = [found.utilisation(expert, "Text") for expert in range(3)]
    assert [rate and rate.estimate for rate in rates] == pytest.approx([12.5, 25.0, -6.25])
    gap = found.gap("Text")
    assert gap is not None
    assert gap.estimate == pytest.approx(31.25)
    assert gap.low < 31.25 < gap.high
    general = found.utilisation(1, "General")
    assert general is not None
    assert (general.estimate, general.low, general.high) == (0.0, 0.0, 0.0)
    overall = found.utilisation(1)
    assert overall is not None
    assert overall.estimate == pytest.approx(100 * (0.65 - 0.55) / 0.65)


def test_two_experts_are_redundant_where_both_are_missed_more_than_each(found: Redundancy) -> None:
    shared = found.shared(0, 1)  # without both 0.2, without each 0.7 and 0.6, with all 0.8
    assert shared is not None
    assert shared.estimate == pytest.approx(100 * (0.6 - 0.1 - 0.2) / 2)
    assert not shared.tie


def test_the_best_part_is_named_with_what_it_saves(found: Redundancy) -> None:
    assert found.run.kept[found.best_part or 0] == (0, 1)
    saved = found.flops_saved(found.best_part or 0)
    assert saved is not None
    assert 0 < saved < 100
    said = summary(found)
    assert "clip-micro@32 + pix2struct-micro@128, scores +2.5 points" in said
    assert "It was chosen by the same answers" in said
    assert part_table(found)["score"].is_monotonic_decreasing


def test_a_task_of_which_nothing_is_right_has_no_rate_but_zero(found: Redundancy) -> None:
    nothing = run(dict.fromkeys(RIGHT, 0.0))
    made = Redundancy(found.study, found.candidate, nothing)
    rate = made.utilisation(0, "Text")
    assert rate is not None
    assert rate.estimate == 0.0


def test_masking_is_held_against_training_without_the_expert(greedy: StudyResult) -> None:
    best = max(greedy.candidates, key=lambda one: len(one.encoders))
    subject = Redundancy(greedy, best, dataclasses.replace(run(RIGHT), experts=best.encoders[:3]))
    assert subject.trained_without(0) is None  # the base: no mixture is without it
    assert subject.rank_correlation is None


def test_the_page_is_there_where_something_was_masked(
    found: Redundancy, brief: StudyResult, tmp_path: Path
) -> None:
    build(brief, tmp_path / "none")
    assert not (tmp_path / "none" / "redundancy.html").exists()
    build(found.study, tmp_path / "report")
    text = words(tmp_path / "report" / "redundancy.html")
    assert "could not be made" not in text
    assert "Conditional utilisation rate" in text
    assert "are replaced by zeros. 7 masks." in text
    for expert in EXPERTS:
        assert expert in text
    assert len(rate_table(found)) == 3 * 3
