"""The first page: the question and its answer, how far a study is, and what is missing."""

import dataclasses
from pathlib import Path

from reading import Page, pages
from synthetic import ROUNDS, STUDY, Run, study

from ablate.reports import story
from ablate.reports.load import load
from ablate.reports.model import StudyResult
from ablate.reports.site import build
from ablate.search.explore import rounds_so_far
from ablate.store.lease import Watch
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for


def test_the_first_page_answers_the_question(site: Path, greedy: StudyResult) -> None:
    text = " ".join(Page(site / "index.html").text.split())
    assert greedy.question in text
    assert greedy.best is not None
    answer = story.tell(greedy).answer
    assert answer in text
    *_, added = greedy.best.encoders
    assert f"{added} ({greedy.best.composite:.1f})" in answer
    assert "95 % interval" in text
    assert "Published: The search starts from the two best single encoders." in text
    text = " ".join(Page(site / "published.html").text.split())
    assert "Not comparable number by number" in text


def test_a_study_that_never_ran_says_so(empty: StudyResult, tmp_path: Path) -> None:
    text = " ".join(Page(build(empty, tmp_path / "report")).text.split())
    assert "No candidate is scored yet." in text
    assert "not finished: 0 of 6 candidates" in text
    pages(tmp_path / "report")


def test_a_study_that_runs_says_how_far_it_is(tmp_path: Path) -> None:
    subject = study(tmp_path, STUDY + ROUNDS)
    run = Run(tmp_path, subject, images=8)
    run.rounds(1)
    first, second, *_ = rounds_so_far(subject, StoredResults(run.store, subject), 2)[-1].candidates
    run.finish(first)
    lease = Watch().take(run.store.leases(steps_for(second, subject)[-1]))
    assert lease is not None
    with lease:
        found = load(subject, tmp_path)
    text = " ".join(Page(build(found, tmp_path / "report")).text.split())
    assert "not finished: 2 of 6 candidates are scored" in text
    assert "So far, " in text
    assert "1 running, 3 waiting" in text
    results = " ".join(Page(tmp_path / "report" / "results.html").text.split())
    assert "Not decided yet." in results


def test_a_study_is_short_where_it_is_printed(greedy: StudyResult) -> None:
    whole = [greedy, *greedy.rounds, *greedy.candidates, *greedy.steps.values()]
    assert all(len(repr(one)) < 1000 for one in [*whole, greedy.candidates[0].runs[0]])
    assert repr(greedy).startswith("<StudyResult 'greedy' on micro: rounds, 9 of 10 candidates")
    longest = dataclasses.replace(greedy, name="x" * 10**6)
    assert len(repr(longest)) < 1000
