"""The pages of results, cost and experts: every number of their tables, and what is beside it."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from reading import Page, pages, words

from ablate.reports import formats, losses, significance, tables
from ablate.reports.formats import number
from ablate.reports.model import StudyResult, best_first
from ablate.reports.pages.results import results
from ablate.reports.site import build


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


def test_numbers_and_their_heading_are_on_one_side(site: Path) -> None:
    for page in pages(site):
        tables: list[list[list[bool]]] = []
        for tag, values in page.tags:
            if tag == "table":
                tables.append([])
            elif tag == "tr":
                tables[-1].append([])
            elif tag in ("td", "th"):
                tables[-1][-1].append("num" in str(values.get("class")).split())
        for heads, *rows in tables:
            alike = [row for row in rows if len(row) == len(heads)]
            assert len(alike) < len(rows) or alike == [heads] * len(rows), page.path.name


def test_the_losses_say_how_many_of_the_candidates_are_drawn(
    greedy: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sum(losses.curve_of(candidate) is not None for candidate in greedy.candidates)
    monkeypatch.setattr(losses, "LINES", 3)
    caption = results(greedy, [])["losses_caption"]
    assert caption.endswith(f". The base, and the 2 best of {drawn} candidates")
    monkeypatch.setattr(losses, "LINES", drawn)
    assert "candidates" not in results(greedy, [])["losses_caption"]


def test_every_cell_s_interval_can_be_downloaded(site: Path, greedy: StudyResult) -> None:
    told = (site / "tables" / "cells.csv").read_text()
    assert told == formats.to_csv(tables.cells(greedy), notes=significance.below(greedy))
    assert 'href="tables/cells.csv"' in (site / "results.html").read_text()


def test_arms_are_one_table_against_the_base_arm(arms: StudyResult, tmp_path: Path) -> None:
    text = " ".join(Page(build(arms, tmp_path / "report")).text.split())
    assert "Scores are means over seeds" in text
    text = " ".join(Page(tmp_path / "report" / "results.html").text.split())
    assert "3 arms, held against channel concat" in text
    page = (tmp_path / "report" / "results.html").read_text(encoding="utf-8")
    shown = re.findall(r'<th scope="row"><a[^>]*>([^<]+)</a>', page)
    assert shown == [one.name for one in best_first(arms.candidates)]
    assert "LLaVA-HR" not in text
    text = " ".join(Page(tmp_path / "report" / "published.html").text.split())
    assert "LLaVA-HR" in text
    assert "690.5?" in text
    pages(tmp_path / "report")
