"""The page of a candidate: its scores, what differs, its logs without secrets, why it failed."""

import dataclasses
from pathlib import Path

import pytest
from reading import Page, words
from synthetic import FAILED, REASON

from ablate.reports import tables
from ablate.reports.model import StepResult, StudyResult
from ablate.reports.pages.logs import MOST, tail
from ablate.reports.site import build


def test_a_failed_candidate_is_there_with_its_reason(site: Path, greedy: StudyResult) -> None:
    results = Page(site / "results.html").text
    assert f"Failed: {FAILED}." in results
    assert f"finetune: {REASON}" in results
    failed = next(one for one in greedy.candidates if one.status == "failed")
    number = greedy.candidates.index(failed) + 1
    page = (site / "candidates" / f"{number:03d}.html").read_text(encoding="utf-8")
    assert "the loss became NaN at step 41 &lt;/pre&gt;&lt;script&gt;" in page
    assert "<script>alert" not in page


def test_a_candidates_page_shows_diff_parameters_lineage_and_loss(site: Path) -> None:
    page = Page(site / "candidates" / "004.html")
    text = " ".join(page.text.split())
    assert "What differs from clip-micro@32" in text
    assert "encoder pix2struct-micro@128" in text
    assert "frozen" in text
    assert "trained" in text
    assert text.count("prealign") >= 3  # two experts, and a column of what each stage trained
    assert sum(tag == "svg" for tag, _ in page.tags) == 4  # two prealign, pretrain, finetune
    assert "torch 2.9.0" in text


def test_a_candidate_is_compared_by_benchmark_with_the_winner_before(
    site: Path, greedy: StudyResult
) -> None:
    one = greedy.winners[1]
    place = greedy.candidates.index(one) + 1
    text = words(site / "candidates" / f"{place:03d}.html")
    cells = tables.cells(greedy).set_index(["candidate", "benchmark"]).loc[one.name]
    for row in tables.flips(greedy, greedy.base, one).to_dict("records"):
        title = row["benchmark"]
        task = next(task for task, name in greedy.tasks.items() if name == title)
        own = cells.loc[title]
        score = f"{one.scores[task]:.1f} [{own['score_low']:.1f}, {own['score_high']:.1f}]"
        delta = f"{row['delta']:+.1f} [{row['delta_low']:+.1f}, {row['delta_high']:+.1f}]"
        assert f"{title} {row['questions']} {score} {delta} {row['fixed']} {row['broken']}" in text


def test_what_a_step_printed_last_is_on_the_page_without_control_characters(
    brief: StudyResult, tmp_path: Path
) -> None:
    step = brief.candidates[0].steps[-1]
    folder = tmp_path / "logs" / f"{step.kind}-{step.dirname}"
    folder.mkdir(parents=True)
    (folder / "attempt-2.log").write_text("an older attempt")
    bar = "".join(f"\r{part} % <b>" for part in range(100))
    lines = [f"line {number}" for number in range(50)]
    (folder / "attempt-10.log").write_text("\n".join([*lines, "\x1b[31mred\x1b[0m", bar]))
    shown = tail(tmp_path, step).split("\n")
    assert len(shown) == 40
    assert shown[-3:] == ["line 49", "red", "99 % <b>"]
    build(dataclasses.replace(brief, home=tmp_path), tmp_path / "report")
    page = (tmp_path / "report" / "candidates" / "001.html").read_text(encoding="utf-8")
    assert "line 49\nred\n99 % &lt;b&gt;</pre>" in page


@pytest.mark.parametrize("before", ["", "x" * 60_000])
def test_a_log_on_a_page_holds_no_secret(
    brief: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setenv("MY_PASS", "correct horse battery")
    step = brief.candidates[0].steps[-1]
    log = tmp_path / "logs" / f"{step.kind}-{step.dirname}" / "attempt-1.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        f"{before}\nlogin correct horse battery\ncorrect \x1b[1mhorse battery\n"
        f"GET https://me:hunter2@host/a\n{'y' * 390}correct horse battery\n"
    )
    build(dataclasses.replace(brief, home=tmp_path), tmp_path / "report")
    page = (tmp_path / "report" / "candidates" / "001.html").read_text(encoding="utf-8")
    assert "login $MY_PASS\n$MY_PASS\nGET https://***@host/a\n" in page
    assert not any(part in page for part in ("correct", "horse", "hunter2"))


def test_a_secret_that_a_log_is_cut_within_is_left_out(
    brief: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "abcdefghijklmnop"
    monkeypatch.setenv("MY_PASS", secret)
    step = brief.candidates[0].steps[-1]
    log = tmp_path / "logs" / f"{step.kind}-{step.dirname}" / "attempt-1.log"
    log.parent.mkdir(parents=True)
    for length in range(MOST - 20, MOST + 2):
        log.write_text(f"{secret}{'z' * (length - len(secret))} end")
        shown = tail(tmp_path, step)
        assert not any(secret[place : place + 4] in shown for place in range(13))


def test_why_a_step_failed_is_a_line_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_TOKEN", "very-secret-word")
    error = {"type": "OSError", "message": "asked with\n  very-secret-word"}
    step = StepResult("reference", "k", "s", "d", "failed", record={"error": error})
    assert step.reason == "asked with $SITE_TOKEN"
    assert StepResult("reference", "k", "s", "d", "done").reason == ""
