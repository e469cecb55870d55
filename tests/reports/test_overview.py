"""The page of all studies of a home: made anew with each report, escaped, its links relative."""

import dataclasses
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from opened import PHONE, Open, amiss

from ablate.reports.model import StudyResult
from ablate.reports.overview import update
from ablate.reports.site import build, build_single

EVIL = '<script>alert(1)</script>"'


def made(study: StudyResult, folder: Path, name: str, title: str = "A title") -> StudyResult:
    """The study under another name in a home of its own, with a page that stands for its report."""
    found = dataclasses.replace(study, name=name, title=title, home=folder.parent)
    page = folder / name / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("the report")
    update(folder, page, found)
    return found


def rows(page: str) -> list[str]:
    bodies = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    found = [row for body in bodies for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
    return [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in found]


def test_every_report_adds_its_study_and_keeps_the_others(
    greedy: StudyResult, arms: StudyResult, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    made(greedy, folder, "one/rounds")
    made(arms, folder, "two")
    made(greedy, folder, "one/rounds", "Another title")
    page = (folder / "index.html").read_text(encoding="utf-8")
    first, second = rows(page)
    best = greedy.best
    assert best is not None
    own, gain = greedy.scoreboard.score(best), greedy.scoreboard.difference(best, greedy.base)
    assert own
    assert gain
    assert first.startswith("Another title one/rounds Which experts")
    assert f"{best.name}" in first
    assert f"{best.composite:.1f} [{own.low:.1f}, {own.high:.1f}]" in first
    assert f"{greedy.base.composite:.1f} +{gain.estimate:.1f} [+{gain.low:.1f}" in first
    assert f"{best.scores['abl_docvqa']:.1f} 9 of 10 2001-09-09 01:46" in first
    assert second.startswith("A title two")
    links = re.findall(r'<a href="([^"]*)"', page)
    assert links == ["one/rounds/index.html", "two/index.html"]
    assert all((folder / link).is_file() for link in links)


def test_what_an_author_wrote_is_text(greedy: StudyResult, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    made(dataclasses.replace(greedy, question=EVIL, suite=EVIL), folder, "a #1?'&", title=EVIL)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    [link] = re.findall(r'<a href="([^"]*)"', page)
    assert (folder / unquote(link)).is_file()


def test_a_report_that_is_gone_is_forgotten(greedy: StudyResult, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    made(greedy, folder, "first")
    made(greedy, folder, "second")
    (folder / "first" / "index.html").unlink()
    made(greedy, folder, "second")
    assert [row.split()[2] for row in rows((folder / "index.html").read_text())] == ["second"]


def test_scores_of_different_suites_are_not_side_by_side(
    greedy: StudyResult, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    made(greedy, folder, "one")
    made(dataclasses.replace(greedy, suite="other"), folder, "two")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["On micro", "On other"]


def test_a_study_of_no_scores_and_one_called_index_are_no_trouble(
    empty: StudyResult, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    page = build_single(dataclasses.replace(empty, name="index"), folder / "index.html")
    before = page.read_bytes()
    assert update(folder, page, empty) == page
    assert page.read_bytes() == before
    page.unlink()
    made(empty, folder, "waiting")
    [row] = rows((folder / "index.html").read_text(encoding="utf-8"))
    assert "not scored yet" in row
    summary = json.loads(next((folder / ".summaries").iterdir()).read_text())
    assert summary["score"] == summary["gain"] == ""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_leads_to_a_report_and_back(
    page: Open, greedy: StudyResult, tmp_path: Path, width: int, scheme: str
) -> None:
    here = dataclasses.replace(greedy, home=tmp_path, name="a/b")
    made(greedy, tmp_path / "reports", "other")
    report = build(here, tmp_path / "reports" / "a" / "b")
    overview = update(tmp_path / "reports", report, here)
    opened = page(viewport={**PHONE, "width": width}, color_scheme=scheme)
    opened.goto(overview.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert amiss(opened) == []
    opened.get_by_role("link", name=greedy.title).click()
    opened.goto((report.parent / "candidates" / "002.html").as_uri())
    opened.get_by_role("link", name="All studies").click()
    opened.get_by_role("heading", name="Studies").wait_for()
