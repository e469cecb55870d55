"""The report in a real browser, opened from disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def index(site: Path) -> Path:
    return site / "index.html"


@pytest.fixture
def page() -> Iterator["Page"]:
    """A page that fails the test on a console error or a request that leaves the disk."""
    sync_api = pytest.importorskip("playwright.sync_api")
    wrong: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        shown = browser.new_page(viewport={"width": 390, "height": 800})
        shown.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url),
        )
        yield shown
        browser.close()
    assert wrong == []


def test_every_page_loads_and_none_is_wider_than_a_phone(page: "Page", index: Path) -> None:
    for path in sorted(index.parent.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path.name


def test_a_heading_sorts_its_table(page: "Page", index: Path) -> None:
    page.goto(index.as_uri())
    table = page.locator("table.sortable").nth(1)
    heading = table.locator("thead th").nth(2)

    def scores() -> list[float]:
        cells = table.locator("tbody tr td:nth-child(3)").all()
        return [float(cell.get_attribute("data-value")) for cell in cells]

    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert scores() == sorted(scores(), reverse=True)
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert scores() == sorted(scores())


def test_the_browser_of_answers_filters(page: "Page", index: Path) -> None:
    page.goto(f"{index.with_name('answers.html').as_uri()}#show=fixed")
    assert not page.locator("#fallback").is_visible()
    shown = page.locator("#browser > li")
    fixed = page.locator("#count").inner_text()
    assert shown.count() > 0
    for card in shown.all()[:5]:
        verdicts = card.locator("dl .verdict").all_inner_texts()
        assert verdicts == ["wrong", "right"]
    page.locator("select[name=task]").select_option("abl_docvqa")
    assert set(page.locator("#browser .task").all_inner_texts()) == {"DocVQA"}
    assert page.locator("#count").inner_text() != fixed
    page.locator("input[name=text]").fill("no such words")
    assert shown.count() == 0
    page.locator("input[name=text]").fill("")
    page.locator("select[name=show]").select_option("all")
    image = page.locator("#browser img").first
    page.wait_for_function("image => image.complete", arg=image.element_handle())
    assert image.evaluate("image => image.naturalWidth") == 128
