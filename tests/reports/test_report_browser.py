"""The report in a real browser, opened from disk: as a folder, and as one file."""

import base64
import dataclasses
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from opened import PHONE, Open, amiss
from PIL import Image
from playwright.sync_api import Page, expect

from ablate.reports.live import ServedFiles, Server
from ablate.reports.model import StudyResult
from ablate.reports.pages import navigation
from ablate.reports.site import build, build_single

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def single(greedy: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of `greedy` in one file."""
    return build_single(greedy, tmp_path_factory.mktemp("single") / "report.html")


@pytest.fixture(scope="session", params=["folder", "one file"])
def addresses(
    request: pytest.FixtureRequest, greedy: StudyResult, site: Path, single: Path
) -> dict[str, str]:
    """Where each page is, in either form."""
    paths = [path for path, _ in navigation(greedy)]
    paths += [f"candidates/{number + 1:03d}" for number in range(len(greedy.candidates))]
    if request.param == "folder":
        return {path: (site / f"{path}.html").as_uri() for path in paths}
    return {path: f"{single.as_uri()}#{path}" for path in paths}


def shown(page: Page) -> "Any":
    """The section that is shown."""
    return page.locator("main > article:visible")


def test_every_page_opens_and_none_is_wider_than_a_phone(
    page: Open, addresses: dict[str, str]
) -> None:
    phone = page()
    for path, address in addresses.items():
        phone.goto(address)
        assert shown(phone).get_attribute("id") == path
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_axe_finds_nothing_serious(
    page: Open, greedy: StudyResult, site: Path, width: int, scheme: str
) -> None:
    opened = page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    paths = [path for path, _ in navigation(greedy)]
    for path in [*paths, "candidates/004", "candidates/010"]:
        opened.goto((site / f"{path}.html").as_uri())
        assert amiss(opened) == [], path


def test_a_heading_sorts_its_table_also_by_keyboard(page: Open, addresses: dict[str, str]) -> None:
    wide = page()
    wide.goto(addresses["results"])
    table = shown(wide).locator("table.live").nth(1)
    heading = table.locator("thead th", has_text="Score")

    def scores() -> list[float]:
        cells = table.locator("tbody tr td:nth-child(3) .number").all_inner_texts()
        return [float(text) for text in cells]

    before = table.locator("tbody th").all_inner_texts()
    heading.click()
    table.locator("thead th[aria-sort=descending]", has_text="Score").wait_for()
    assert scores() == sorted(scores(), reverse=True)
    heading.locator("[role=button]").press("Enter")
    table.locator("thead th[aria-sort=ascending]", has_text="Score").wait_for()
    assert scores() == sorted(scores())
    heading.locator("[role=button]").press("Enter")
    table.locator("thead th[aria-sort]").wait_for(state="detached")
    assert table.locator("tbody th").all_inner_texts() == before


def test_each_point_says_what_it_is_and_leads_to_its_page(
    page: Open, greedy: StudyResult, addresses: dict[str, str]
) -> None:
    wide = page(viewport={"width": 1280, "height": 900})
    for path, figures in (("index", 1), ("cost", 4)):
        wide.goto(addresses[path])
        points = shown(wide).locator("a.point")
        scored = [one for one in greedy.candidates if one.composite is not None]
        assert points.count() >= figures * len(scored)
        tip = wide.locator(".tip")
        for place in range(len(scored)):
            point = points.nth(place)
            if path == "index":
                point.hover()
            else:  # one may lie on another
                point.focus()
            words = point.get_attribute("aria-label")
            assert words
            assert tip.inner_text() == words
    wide.goto(addresses["index"])
    best = greedy.best
    assert best is not None
    point = shown(wide).locator(f"a.point[aria-label*='{greedy.label(best)} (round 3)']")
    assert f"{best.composite:.1f} [" in (point.get_attribute("aria-label") or "")
    point.focus()
    assert tip.is_visible()
    wide.keyboard.press("Escape")
    assert not tip.is_visible()
    wide.keyboard.press("Enter")
    shown(wide).get_by_role("heading", name=best.name, exact=True).wait_for()


@pytest.mark.parametrize("width", [390, 1280])
def test_what_decides_of_a_round_is_seen_without_scrolling(
    page: Open, addresses: dict[str, str], width: int
) -> None:
    opened = page(viewport={"width": width, "height": 900})
    opened.goto(addresses["results"])
    table = shown(opened).locator("table.results").nth(1)
    table.locator(".dt-column-order").first.wait_for(state="attached")
    names = ["Score", "Against previous winner"] + (
        ["p, of this run", "DocVQA", "Seconds"] * (width > 400)
    )
    for name in names:
        heading = table.locator("thead th", has_text=re.compile(rf"^\s*{name}\s*$")).bounding_box()
        assert heading, name
        assert heading["x"] + heading["width"] <= width, name
    winner = table.get_by_text("winner", exact=True).locator("visible=true").bounding_box()
    assert winner
    assert winner["x"] + winner["width"] <= width


def test_figures_and_tables_are_kept_as_files(
    page: Open, addresses: dict[str, str], tmp_path: Path
) -> None:
    wide = page(viewport={"width": 1280, "height": 900})
    for path, name, start in (
        ("index", "SVG", b"<?xml"),
        ("cost", "CSV", b"kind,steps"),
        ("experts", "JSON", b'{\n "rows": ['),
    ):
        wide.goto(addresses[path])
        link = shown(wide).get_by_role("link", name=name, exact=True).first
        href = link.get_attribute("href") or ""
        if href.startswith("data:"):
            head, _, body = href.partition(",")
            content = base64.b64decode(body) if head.endswith("base64") else unquote_to_bytes(body)
        else:
            content = (Path(addresses[path].removeprefix("file://")).parent / href).read_bytes()
        assert content.startswith(start), name
        assert link.get_attribute("download")
    wide.goto(addresses["index"])
    with wide.expect_download() as download:
        shown(wide).get_by_role("button", name="PNG").click()
    assert download.value.suggested_filename == "greedy-scores.png"
    download.value.save_as(tmp_path / "scores.png")
    with Image.open(tmp_path / "scores.png") as image:
        assert (image.format, image.width) == ("PNG", 3 * 72 * 5)
        assert len(image.convert("RGB").getcolors(10**6) or []) > 20  # it is drawn


def test_a_table_is_filtered_and_its_columns_are_hidden(
    page: Open, addresses: dict[str, str]
) -> None:
    wide = page()
    wide.goto(addresses["results"])
    second = shown(wide).locator(".dt-container").nth(1)
    second.get_by_label("Filter").fill("eva02")
    assert second.locator("tbody th a").first.inner_text() == "+ eva02-micro@128"
    assert second.locator("tbody th").count() == 1
    assert "1 rows" in second.locator(".dt-info").inner_text()
    second.get_by_label("Filter").fill("")
    heads = second.locator("thead th:not(.family)")
    assert "POPE" in "".join(heads.all_inner_texts())
    second.locator(".columns summary").click()
    second.get_by_role("checkbox", name="POPE").uncheck()
    assert "POPE" not in "".join(heads.all_inner_texts())
    assert second.locator("thead th.family").first.get_attribute("colspan") == "3"
    second.get_by_role("checkbox", name="POPE").check()
    assert "POPE" in "".join(heads.all_inner_texts())


def test_the_browser_of_answers_filters_by_flip_benchmark_and_words(
    page: Open, addresses: dict[str, str]
) -> None:
    phone = page()
    mark = "?" if "#answers" in addresses["answers"] else "#answers?"
    phone.goto(f"{addresses['answers']}{mark}show=fixed")
    cards = phone.locator("#browser > li")
    cards.first.wait_for()
    assert not phone.locator("#fallback").is_visible()
    for verdicts in [one.locator("> dl .verdict").all_inner_texts() for one in cards.all()[:5]]:
        assert verdicts == ["wrong", "right"]
    count = phone.locator("#count")
    found = re.match(r"(\d+) of 320 questions.* (\d+) fixed", count.inner_text())
    assert found
    assert found[1] == found[2]
    phone.locator("[name=task]").select_option(label="DocVQA")
    assert set(phone.locator("#browser .task").all_inner_texts()) == {"DocVQA"}
    phone.locator("[name=text]").fill("no such words")
    assert count.inner_text().startswith("0 of 320")
    phone.locator("[name=text]").fill("")
    phone.locator("[name=show]").select_option("all")
    image = phone.locator("#browser img").first
    phone.wait_for_function("image => image.complete", arg=image.element_handle())
    assert image.evaluate("image => image.naturalWidth") == 128
    small = image.bounding_box()
    image.click()
    dialog = phone.get_by_role("dialog")
    large = dialog.locator("img").bounding_box()
    assert small
    assert large
    assert large["width"] > 2 * small["width"]
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    first = dialog.locator(".asked, .truth").all_inner_texts()
    assert first == cards.first.locator(".asked, .truth").all_inner_texts()
    phone.keyboard.press("ArrowRight")
    following = dialog.locator(".asked, .truth").all_inner_texts()
    assert following == cards.nth(1).locator(".asked, .truth").all_inner_texts()
    phone.keyboard.press("Escape")
    assert dialog.count() == 0
    cards.first.locator(".others summary").click()
    cards.first.locator(".others dl > div").nth(6).wait_for()
    assert "show=all" in phone.url


def test_answers_are_mixed_and_counted_by_benchmark_and_by_kind_of_answer(
    page: Open, greedy: StudyResult, addresses: dict[str, str]
) -> None:
    phone = page()
    phone.goto(addresses["answers"])
    phone.locator("#browser > li").first.wait_for()
    titles = list(greedy.tasks.values())
    first = phone.locator("#browser .task").all_inner_texts()[: len(titles)]
    assert sorted(first) == sorted(titles)
    rows = phone.locator("#summary tbody tr")
    cells = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows.all()
    }
    a, b = greedy.base, greedy.best
    assert b is not None
    for task, title in greedy.tasks.items():
        own = [one.answers[one.answers["task"] == task] for one in (a, b)]
        shares = [f"{100 * (each['score'] >= 0.5).mean():.1f}" for each in own]
        assert cells[title][:3] == [str(len(own[0])), *shares]
    truths = a.answers["truth"]
    assert cells["answer: yes or no"][0] == str(truths.isin(["yes", "no"]).sum())
    assert cells["answer: a number"][0] == str(truths.isin(["seven", "three"]).sum())
    rows.get_by_role("button", name="answer: yes or no").click()
    shown_truths = set(phone.locator("#browser .truth").all_inner_texts())
    assert shown_truths == {"Truth: yes", "Truth: no"}
    assert "kind=yes" in phone.url


def test_of_many_candidates_only_those_shown_are_asked_for(
    page: Open, greedy: StudyResult, tmp_path: Path
) -> None:
    base = greedy.base
    copies = [dataclasses.replace(base, name=f"{base.name} {number}") for number in range(40)]
    turn = dataclasses.replace(greedy.rounds[0], candidates=(base, *copies))
    build(dataclasses.replace(greedy, rounds=(turn,)), tmp_path / "report")
    phone = page()
    asked: list[str] = []
    phone.on("request", lambda r: asked.append(r.url) if "/answers/" in r.url else None)
    phone.goto((tmp_path / "report" / "answers.html").as_uri())
    others = phone.locator("#browser > li").first.locator(".others")
    for shown_then in (20, 40):
        others.locator("summary, button").nth(shown_then // 20 - 1).click()
        others.locator("dl > div").nth(min(shown_then, 39) - 1).wait_for()
        assert len(set(asked)) == min(shown_then + 2, 41)
    assert not others.get_by_role("button").is_visible()


def test_a_candidates_page_leads_to_what_it_fixed(page: Open, addresses: dict[str, str]) -> None:
    phone = page()
    phone.goto(addresses["candidates/004"])
    shown(phone).get_by_role("link", name="fixed").click()
    phone.locator("#browser > li").first.wait_for()
    assert shown(phone).get_attribute("id") == "answers"
    assert phone.locator("[name=show]").input_value() == "fixed"


def test_the_theme_follows_the_system_until_one_is_chosen(
    page: Open, addresses: dict[str, str]
) -> None:
    dark = page(color_scheme="dark")
    dark.goto(addresses["index"])
    paper = "getComputedStyle(document.body).backgroundColor"
    system = dark.evaluate(paper)
    dark.get_by_role("button", name="Theme: system").click()
    light = dark.evaluate(paper)
    assert light != system
    dark.reload()
    assert dark.evaluate(paper) == light
    dark.get_by_role("button", name="Theme: light").click()
    assert dark.evaluate(paper) == system


def test_without_scripts_everything_can_be_read(page: Open, addresses: dict[str, str]) -> None:
    plain = page(java_script_enabled=False)
    for path, words in (
        ("index", "scored highest in this run"),
        ("results", "+ pix2struct-micro@128"),
        ("candidates/004", "What differs from"),
        ("answers", "The first 50 questions of 320"),
    ):
        plain.goto(addresses[path])
        assert words in plain.locator("main").inner_text()
    assert plain.locator("#fallback tbody tr").count() == 50
    image = plain.locator("#fallback .picture img").first
    small = image.bounding_box()
    image.click()
    assert image.bounding_box() != small
    assert not plain.locator("#filters").is_visible()
    assert plain.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_it_prints_with_every_row_and_without_what_cannot_be_clicked(
    page: Open, addresses: dict[str, str]
) -> None:
    wide = page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    wide.goto(addresses["results"])
    paper = wide.pdf(prefer_css_page_size=True)
    [box] = set(re.findall(rb"/MediaBox \[0 0 (\d+)[\d.]* (\d+)", paper))
    assert int(box[0]) > int(box[1])  # wide tables lie on their side
    wide.emulate_media(media="print")
    assert wide.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not wide.locator(".bar").is_visible()
    assert not shown(wide).get_by_label("Filter").first.is_visible()
    assert shown(wide).locator("table.live").first.is_visible()
    wide.set_viewport_size({"width": round((297 - 2 * 12) / 25.4 * 96), "height": 700})  # A4
    assert wide.evaluate("document.documentElement.scrollWidth") <= wide.evaluate("innerWidth")
    assert shown(wide).locator("tbody td.num").evaluate_all(_BROKEN) == []
    pill = shown(wide).locator(".pill.winner").first
    assert pill.evaluate("one => getComputedStyle(one).printColorAdjust") == "exact"


_BROKEN = """cells => cells.flatMap((cell) => [...cell.childNodes]).filter((text) => {
  const range = document.createRange();
  range.selectNodeContents(text);
  return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1;
}).map((text) => text.textContent)"""
"""Of cells, the numbers that stand on several lines."""


def test_the_first_stop_of_the_keyboard_skips_to_the_content(page: Open, site: Path) -> None:
    phone = page()
    phone.goto((site / "cost.html").as_uri())
    phone.keyboard.press("Tab")
    phone.keyboard.press("Enter")
    assert phone.evaluate("document.activeElement.id") == "main"
    assert shown(phone).get_attribute("id") == "cost"


def test_one_file_shows_one_page_at_a_time(page: Open, single: Path) -> None:
    """`expect` waits: the page turns once the browser comes to it."""
    phone = page()
    phone.goto(single.as_uri())
    expect(shown(phone)).to_have_attribute("id", "index")
    phone.get_by_role("link", name="Cost", exact=True).click()
    expect(shown(phone)).to_have_attribute("id", "cost")
    expect(phone).to_have_title(re.compile("^Cost - "))
    expect(phone.locator("nav a[aria-current]")).to_have_text("Cost")
    phone.go_back()
    expect(shown(phone)).to_have_attribute("id", "index")


def test_a_served_page_loads_itself_anew_when_there_is_a_newer_one(
    page: Open, greedy: StudyResult, tmp_path: Path
) -> None:
    first, *_ = greedy.rounds
    shelf = ServedFiles()
    earlier = dataclasses.replace(greedy, rounds=(first,), planned_rounds=3)
    shelf.put(build(earlier, tmp_path / "0", live=True).parent)
    later = build(greedy, tmp_path / "1", live=True).parent
    with Server(shelf) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            phone = page(near=server.address)
            with phone.expect_response(lambda answer: answer.request.method == "HEAD"):
                phone.goto(f"{server.address}results.html")
            assert shown(phone).locator("table.live").count() == 1
            shelf.put(later)
            shown(phone).get_by_role("heading", name="Round 3").wait_for()
        finally:
            server.shutdown()
            thread.join()
