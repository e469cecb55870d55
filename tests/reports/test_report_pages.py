"""The report as a folder: complete, escaped, the same every time, honest about what is missing."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from opened import piece
from synthetic import FAILED, REASON, ROUNDS, STUDY, Run, study

from ablate.reports import figures, formats, significance, story, tables
from ablate.reports.answers import Answers
from ablate.reports.formats import number
from ablate.reports.load import load
from ablate.reports.model import CandidateResult, StudyResult, best_first
from ablate.reports.pages import navigation
from ablate.reports.pages.logs import MOST, tail
from ablate.reports.site import build, build_single
from ablate.search.explore import rounds_so_far
from ablate.store.lease import Watch
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for

VOID = {"meta", "link", "img", "br", "input", "line", "path", "polyline", "use", "circle", "rect"}


class Page(HTMLParser):
    """A page's tags, links and text; fails on a tag that is not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == [], f"{path}: not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        self.links += [str(values[name]) for name in ("href", "src") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"{self.path}: </{tag}> out of place"
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(folder: Path) -> list[Page]:
    return [Page(path) for path in sorted(folder.rglob("*.html"))]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


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


def test_the_first_page_answers_the_question(site: Path, greedy: StudyResult) -> None:
    text = " ".join(Page(site / "index.html").text.split())
    assert greedy.question in text
    assert greedy.best is not None
    assert story.mixture(greedy.best) in text
    assert "95 % interval" in text
    assert "Published: Each expert up to the fifth adds" in text
    text = " ".join(Page(site / "results.html").text.split())
    assert "Not comparable number by number" in text


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


def words(path: Path) -> str:
    """The text of a page, its spaces made one."""
    return " ".join(Page(path).text.split())


def test_the_rounds_have_corrected_p_and_what_the_suite_can_tell(
    site: Path, greedy: StudyResult
) -> None:
    text = words(site / "results.html")
    for p in significance.significance(greedy)["p"].dropna():
        assert f" {formats.number(p, 'p')} " in text
    assert all(line in text for line in significance.notes(greedy))


@pytest.mark.parametrize(
    ("page", "make"),
    [
        ("cost", tables.costs),
        ("experts", lambda study: tables.contributions(study).drop(columns="wants")),
        ("experts", tables.pairs),
        ("fairness", tables.fairness),
    ],
)
def test_a_page_shows_every_cell_of_its_tables(
    site: Path, greedy: StudyResult, page: str, make: Callable[[StudyResult], pd.DataFrame]
) -> None:
    text = words(site / f"{page}.html")
    _, rows = formats.shown(make(greedy))
    assert rows
    for cells in rows:
        assert " ".join(cell for cell in cells if cell) in text


def test_the_experts_and_the_benchmarks_they_move_are_a_matrix(
    site: Path, greedy: StudyResult
) -> None:
    text = words(site / "experts.html")
    page = (site / "experts.html").read_text(encoding="utf-8")
    moves = tables.moves(greedy).set_index("benchmark")
    for expert in tables.contributions(greedy)["expert"]:
        own = moves[moves["expert"] == expert].loc[list(greedy.tasks.values())]
        cells = own.to_dict("records")
        added = " ".join(number(cell["added"], "added") for cell in cells)
        assert f"{expert} {added}" in text
        for cell in cells:
            low, high = (number(cell[end], end) for end in ("added_low", "added_high"))
            assert f'title="{low} to {high}"' in page
    for wanted in tables.contributions(greedy)["wants"]:
        assert wanted in text


def test_the_cost_of_a_candidate_leads_to_its_page_and_names_its_fronts(
    site: Path, greedy: StudyResult
) -> None:
    page = (site / "cost.html").read_text(encoding="utf-8")
    text = words(site / "cost.html")
    for place, row in enumerate(tables.cost(greedy).to_dict("records"), start=1):
        assert f'<a href="candidates/{place:03d}.html">{row["candidate"]}</a>' in page
    assert "4.0 M" in text
    assert "operations on images in training, operations an image, parameters" in text
    assert "Times on a-machine." in text
    assert "All have the same visual tokens, 16: there is no front to draw." in text
    assert f"all {len(greedy.steps)} " in text


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
    greedy: StudyResult, tmp_path: Path
) -> None:
    step = greedy.candidates[0].steps[-1]
    folder = tmp_path / "logs" / f"{step.kind}-{step.dirname}"
    folder.mkdir(parents=True)
    (folder / "attempt-2.log").write_text("an older attempt")
    bar = "".join(f"\r{part} % <b>" for part in range(100))
    lines = [f"line {number}" for number in range(50)]
    (folder / "attempt-10.log").write_text("\n".join([*lines, "\x1b[31mred\x1b[0m", bar]))
    shown = tail(tmp_path, step).split("\n")
    assert len(shown) == 40
    assert shown[-3:] == ["line 49", "red", "99 % <b>"]
    build(dataclasses.replace(greedy, home=tmp_path), tmp_path / "report")
    page = (tmp_path / "report" / "candidates" / "001.html").read_text(encoding="utf-8")
    assert "line 49\nred\n99 % &lt;b&gt;</pre>" in page


@pytest.mark.parametrize("before", ["", "x" * 60_000])
def test_a_log_on_a_page_holds_no_secret(
    greedy: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setenv("MY_PASS", "correct horse battery")
    step = greedy.candidates[0].steps[-1]
    log = tmp_path / "logs" / f"{step.kind}-{step.dirname}" / "attempt-1.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        f"{before}\nlogin correct horse battery\ncorrect \x1b[1mhorse battery\n"
        f"GET https://me:hunter2@host/a\n{'y' * 390}correct horse battery\n"
    )
    build(dataclasses.replace(greedy, home=tmp_path), tmp_path / "report")
    page = (tmp_path / "report" / "candidates" / "001.html").read_text(encoding="utf-8")
    assert "login $MY_PASS\n$MY_PASS\nGET https://***@host/a\n" in page
    assert not any(part in page for part in ("correct", "horse", "hunter2"))


def test_a_secret_that_a_log_is_cut_within_is_left_out(
    greedy: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "abcdefghijklmnop"
    monkeypatch.setenv("MY_PASS", secret)
    step = greedy.candidates[0].steps[-1]
    log = tmp_path / "logs" / f"{step.kind}-{step.dirname}" / "attempt-1.log"
    log.parent.mkdir(parents=True)
    for length in range(MOST - 20, MOST + 2):
        log.write_text(f"{secret}{'z' * (length - len(secret))} end")
        shown = tail(tmp_path, step)
        assert not any(secret[place : place + 4] in shown for place in range(13))


def test_every_page_says_when_its_runs_were(greedy: StudyResult, site: Path) -> None:
    paths = list(site.rglob("*.html"))
    assert len(paths) == 6 + len(greedy.candidates)
    for path in paths:
        assert "Runs of 2001-09-09 01:46 to 01:47 UTC." in path.read_text(encoding="utf-8")


def test_experts_stand_by_what_they_add_and_are_tinted_by_it(site: Path) -> None:
    text = (site / "experts.html").read_text(encoding="utf-8")
    order = ["pix2struct", "eva02", "convnext", "sam", "dinov2"]
    for caption in ("What each expert adds, in points</caption>", "in points of each benchmark"):
        body = text[text.index(caption) :].partition("</table>")[0]
        assert re.findall(r'<th scope="row">(\w+)-micro', body) == order
    cells = re.findall(r'<td class="num ([\w-]*)( top)?" data-order="([+-][\d.]+)"', text)
    assert len(cells) == 5 * 8
    for tint, _, value in cells:
        points, step = float(value), 20
        shade = min(-(-abs(points) // step), 4)
        name = "gain" if points > 0 else "loss"
        assert tint == (f"{name}-{shade:.0f}" if shade else "")
    legend = re.findall(r'<span class="[\w-]+">([+-]?\d+)</span>', text)
    assert legend == ["-80", "-60", "-40", "-20", "0", "+20", "+40", "+60", "+80"]


def test_a_study_is_short_where_it_is_printed(greedy: StudyResult) -> None:
    whole = [greedy, *greedy.rounds, *greedy.candidates, *greedy.steps.values()]
    assert all(len(repr(one)) < 1000 for one in [*whole, greedy.candidates[0].runs[0]])
    assert repr(greedy).startswith("<StudyResult 'greedy' on micro: rounds, 9 of 10 candidates")
    longest = dataclasses.replace(greedy, name="x" * 10**6)
    assert len(repr(longest)) < 1000


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


def test_arms_are_one_table_against_the_base_arm(arms: StudyResult, tmp_path: Path) -> None:
    text = " ".join(Page(build(arms, tmp_path / "report")).text.split())
    assert "Scores are means over seeds" in text
    text = " ".join(Page(tmp_path / "report" / "results.html").text.split())
    assert "3 arms, held against channel concat" in text
    page = (tmp_path / "report" / "results.html").read_text(encoding="utf-8")
    shown = re.findall(r'<th scope="row"><a[^>]*>([^<]+)</a>', page)
    assert shown == [one.name for one in best_first(arms.candidates)]
    assert "LLaVA-HR" in text
    assert "690.5*?" in text
    pages(tmp_path / "report")


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


def test_a_candidate_that_is_gone_leaves_no_page(greedy: StudyResult, tmp_path: Path) -> None:
    build(greedy, tmp_path / "report")
    first, *_ = greedy.rounds
    index = build(dataclasses.replace(greedy, rounds=(first,)), tmp_path / "report")
    made = sorted(path.name for path in index.parent.rglob("0*.html"))
    assert made == ["001.html"]
    assert [path.name for path in (index.parent / "data" / "answers").iterdir()] == ["1.js"]


def articles(text: str) -> dict[str, str]:
    """The words of each page in a file."""
    found = re.findall(r'<article id="([^"]+)"(.*?)</article>', text, flags=re.DOTALL)
    return {name: " ".join(re.sub(r"<[^>]+>", " ", body).split()) for name, body in found}


def test_one_file_holds_the_same_pages_data_and_tables(
    greedy: StudyResult, site: Path, tmp_path: Path
) -> None:
    path = build_single(greedy, tmp_path / "report.html")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    text = path.read_text(encoding="utf-8")
    assert build_single(greedy, tmp_path / "again.html").read_text(encoding="utf-8") == text
    whole = Page(path)
    ids = [values["id"] for _, values in whole.tags if "id" in values]
    assert len(ids) == len(set(ids))
    found = articles(text)
    assert list(found)[:6] == [path for path, _ in navigation(greedy)]
    assert list(found)[6:] == [f"candidates/{place:03d}" for place in range(1, 11)]
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


def test_every_cell_s_interval_can_be_downloaded(site: Path, greedy: StudyResult) -> None:
    told = (site / "tables" / "cells.csv").read_text()
    assert told == formats.to_csv(tables.cells(greedy), notes=significance.below(greedy))
    assert 'href="tables/cells.csv"' in (site / "results.html").read_text()


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


def test_reports_never_import_torch() -> None:
    program = "import sys, ablate.reports.site, ablate.reports.load; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
