"""The report as a folder: complete, escaped, the same every time, honest about what is missing."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

from opened import piece
from reading import Page, articles, contents, pages
from synthetic import ROUNDS, STUDY, study

from ablate.reports import figures
from ablate.reports.load import load
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.pages import navigation
from ablate.reports.site import build, build_single
from ablate.store.answers import Answers


def test_built_twice_it_is_the_same_to_the_byte(site: Path, greedy: StudyResult) -> None:
    before = contents(site)
    again = load(study(greedy.home, STUDY + ROUNDS), greedy.home)
    build(again, site)
    assert contents(site) == before


def test_every_link_leads_to_a_file_of_the_report(site: Path) -> None:
    for page in pages(site):
        for link in page.links:
            target, _, section = link.partition("#")
            if target and not target.startswith("data:"):
                path = page.path.parent / target
                assert path.is_file(), f"{page.path.name}: {link}"
                if section:
                    assert f'id="{section.partition("?")[0]}"' in path.read_text(encoding="utf-8")


def test_nothing_points_outside(site: Path) -> None:
    for name, content in contents(site).items():
        if name.endswith((".html", ".css", ".js")) and name != "assets/datatables.js":
            text = re.sub(rb'xmlns(:\w+)?="[^"]*"', b"", content)
            assert not re.search(rb"https?://", text), name


def test_tables_have_captions_and_scoped_headings(site: Path) -> None:
    for page in pages(site):
        names = [tag for tag, _ in page.tags]
        assert names.count("table") == names.count("caption")
        assert all("scope" in values for tag, values in page.tags if tag == "th")
        assert names.count("h1") == 1


def test_images_have_alternative_text_and_figures_a_label(site: Path) -> None:
    for page in pages(site):
        assert all("alt" in values for tag, values in page.tags if tag == "img")
        drawn = [values for tag, values in page.tags if tag == "svg"]
        assert all("aria-label" in values or "aria-hidden" in values for values in drawn)


def test_every_page_says_when_its_runs_were(greedy: StudyResult, site: Path) -> None:
    paths = list(site.rglob("*.html"))
    assert len(paths) == 7 + len(greedy.candidates)
    for path in paths:
        assert "Runs of 2001-09-09 01:46 to 01:47 UTC." in path.read_text(encoding="utf-8")


NASTY = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{",
    "line\u2028separator\u2029end",
    "\u202eright to left",
    "<svg/onload=alert(1)>",
    "' javascript:alert(1)",
    "x" * 100_000,
    "\x00\x07 control \ud800",
)


def test_whatever_was_written_stays_text(greedy: StudyResult, tmp_path: Path) -> None:
    words = [nasty[:99].replace("\ud800", "") for nasty in NASTY]  # YAML has no lone surrogates
    everything = " ".join(words)

    def hostile(one: CandidateResult, name: str) -> CandidateResult:
        rows = [
            {**row, "question": nasty, "truth": nasty, "answer": nasty, "image": nasty}
            for row, nasty in zip(one.rows, NASTY * 8, strict=False)
        ]
        return dataclasses.replace(one, name=name, encoders=(name,), runs=(Answers.of(rows),))

    names = iter(words)
    spoiled = dataclasses.replace(
        greedy,
        title=everything,
        question=everything,
        base_name=words[0],
        tasks=dict(zip(greedy.tasks, words, strict=False)),
        rounds=tuple(
            dataclasses.replace(
                turn, decision=None, candidates=tuple(hostile(one, next(names)) for one in members)
            )
            for turn in greedy.rounds
            for members in [turn.candidates[:4]]
        ),
    )
    build(spoiled, tmp_path / "report")
    for page in pages(tmp_path / "report"):
        scripts = [values for tag, values in page.tags if tag == "script"]
        assert all("src" in one for one in scripts)
        assert not any(name.startswith("on") for _, values in page.tags for name in values)
    text = Page(tmp_path / "report" / "results.html").text
    assert all(word in text for word in words[:9] if "\x00" not in word)


def test_a_candidate_that_is_gone_leaves_no_page(
    site: Path, brief: StudyResult, tmp_path: Path
) -> None:
    shutil.copytree(site, tmp_path / "report")
    assert (tmp_path / "report" / "candidates" / "002.html").is_file()
    index = build(brief, tmp_path / "report")
    made = sorted(path.name for path in index.parent.rglob("0*.html"))
    assert made == ["001.html"]
    assert [path.name for path in (index.parent / "data" / "answers").iterdir()] == ["1.js"]


def test_one_file_built_twice_is_the_same_to_the_byte(brief: StudyResult, tmp_path: Path) -> None:
    once, again = (build_single(brief, tmp_path / f"{number}.html") for number in range(2))
    assert once.read_bytes() == again.read_bytes()


def test_one_file_holds_the_same_pages_data_and_tables(
    greedy: StudyResult, site: Path, tmp_path: Path
) -> None:
    path = build_single(greedy, tmp_path / "report.html")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    text = path.read_text(encoding="utf-8")
    whole = Page(path)
    ids = [values["id"] for _, values in whole.tags if "id" in values]
    assert len(ids) == len(set(ids))
    found = articles(text)
    assert list(found)[:7] == [path for path, _ in navigation(greedy)]
    assert list(found)[7:] == [f"candidates/{place:03d}" for place in range(1, 11)]
    for page in pages(site):
        assert articles(page.path.read_text(encoding="utf-8")).items() <= found.items()
    for link in whole.links:
        assert link.startswith(("#", "data:"))
        if link.startswith("#"):
            assert link[1:].partition("?")[0] in ids
    kept = dict(re.findall(r'data-piece="([^"]+)">(.*?)</script>', text))
    assert json.loads(kept["questions"]) == piece(site, "questions")
    assert json.loads(kept["answers/2"]) == piece(site, "answers/2")
    offered = next(link for link in whole.links if link.startswith("data:text/plain"))
    assert unquote(offered.partition(",")[2]) == (site / "tables" / "rounds.csv").read_text()


def test_figures_are_the_same_every_time_and_take_any_name(greedy: StudyResult) -> None:
    turn = greedy.rounds[0]
    odd = dataclasses.replace(turn.candidates[0], name="$\\frac{<b>", encoders=("$\\frac{<b>",))
    spoiled = dataclasses.replace(
        greedy, rounds=(dataclasses.replace(turn, candidates=(odd,)), *greedy.rounds[1:])
    )
    drawn = [figures.svg(figures.greedy_path(spoiled), "x", 'a "label"') for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert "$\\frac{&lt;b&gt;" in drawn[0]
    assert 'aria-label="a &quot;label&quot;"' in drawn[0]
    assert "var(--accent)" in drawn[0]


def test_reports_never_import_torch_nor_what_looks_for_a_display() -> None:
    rooms = ", ".join(f"ablate.reports.{name}" for name in ("site", "load", "figures"))
    heavy = ("torch", "matplotlib.pyplot")
    program = f"import sys, {rooms}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
