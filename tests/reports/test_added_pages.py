"""A page is one file with its template beside it; one that fails costs the report one line."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doc_examples import EXAMPLES
from overlay import overlay, run
from reading import Page, contents, pages, words
from synthetic import ROUNDS, STUDY, study

from ablate.reports.load import load
from ablate.reports.markup import environment
from ablate.reports.model import StudyResult
from ablate.reports.pages import navigation
from ablate.reports.site import build, build_single

NOVELTY = EXAMPLES["ablate/reports/pages/novelty.py"]
TEMPLATE = EXAMPLES["ablate/reports/pages/novelty.html"]
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts the page of another package here, with a part of it replaced."""

    def forget() -> None:
        templates: Any = environment().cache
        for key in [key for key in templates if key[1].startswith("their_pages")]:
            del templates[key]
        for name in [name for name in sys.modules if name.startswith("their_pages")]:
            del sys.modules[name]

    def put(old: str = "", new: str = "", name: str = "encoder counts") -> None:
        files = {
            "their_pages/__init__.py": "",
            "their_pages/novelty.py": NOVELTY.replace(
                "return {", 'return {"evil": "<script>alert(1)</script>", '
            ),
            "their_pages/novelty.html": TEMPLATE.replace("</h1>", "</h1>{{ evil }}"),
            "their_pages-1.dist-info/METADATA": "Name: their-pages\nVersion: 1\n",
            "their_pages-1.dist-info/entry_points.txt": (
                f"[ablate.report_pages]\n{name} = their_pages.novelty:PAGE\n"
            ),
        }
        assert any(old in text for text in files.values())
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text.replace(old, new) if old else text)
        monkeypatch.syspath_prepend(tmp_path)
        forget()

    yield put
    forget()


def test_every_page_of_ours_can_be_made(site: Path) -> None:
    assert not any("could not be made" in page.text for page in pages(site))


def test_a_page_of_another_package_has_its_place_in_the_navigation(
    install: Install, brief: StudyResult, tmp_path: Path
) -> None:
    install()
    listed = navigation(brief)
    place = listed.index(("encoder-counts", "Number of encoders"))
    assert [path for path, _ in listed[place - 1 : place + 2]] == [
        "cost",
        "encoder-counts",
        "experts",
    ]
    folder = build(brief, tmp_path / "report").parent
    text = words(folder / "encoder-counts.html")
    for one in brief.candidates:
        assert f"{one.name} : {len(one.encoders)}" in text
    for page in pages(folder):
        inside = "candidates" in page.path.parts
        assert f"{'../' * inside}encoder-counts.html" in page.links
    page = Page(folder / "encoder-counts.html")
    assert {"candidates/001.html", "cost.html"} <= {*page.links}
    scripts = [values for tag, values in page.tags if tag == "script"]
    assert all("src" in one for one in scripts)
    assert "<script>alert(1)</script>" in page.text
    whole = build_single(brief, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<article id="encoder-counts" data-title="Number of encoders' in whole


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a report of a study that never ran."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "store").mkdir()
    never_ran = load(study(folder, STUDY + ROUNDS), folder)
    return set(contents(build(never_ran, folder / "report").parent))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "import ReportPage, Source",
            "import Nothing",
            "ImportError: cannot import name 'Nothing'",
        ),
        ("study = source.study", "study = 1 / 0", "ZeroDivisionError: division by zero"),
        ('"Number of encoders"', "lambda study: study.nothing", "AttributeError: "),
        (
            "values, order=35",
            "values, 35, lambda study: 1 / 0",
            "ZeroDivisionError: division by zero",
        ),
        ("PAGE = ", "PAGES = ", "AttributeError: "),
    ],
)
def test_a_page_that_fails_says_so_in_its_place_and_costs_no_other(
    install: Install,
    ours: set[str],
    empty: StudyResult,
    tmp_path: Path,
    old: str,
    new: str,
    says: str,
) -> None:
    install(old, new)
    folder = build(empty, tmp_path / "report").parent
    text = words(folder / "encoder-counts.html")
    assert "This page could not be made: page 'encoder counts' of their-pages 1 cannot be " in text
    assert says in text
    assert "novelty.py" in text
    assert contents(folder).keys() - ours == {"encoder-counts.html"}
    failed = [page.path.name for page in pages(folder) if "could not be made" in page.text]
    assert failed == ["encoder-counts.html"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{{ count }}", "{{ cuont }}", "UndefinedError: 'cuont' is undefined"),
        ("{% endfor %}", "", "TemplateSyntaxError: "),
        ("return {", "return None and {", "TypeError: "),
    ],
)
def test_so_does_one_whose_template_fails(
    install: Install, empty: StudyResult, tmp_path: Path, old: str, new: str, says: str
) -> None:
    install(old, new)
    folder = build(empty, tmp_path / "report").parent
    assert f"This page could not be made: {says}" in words(folder / "encoder-counts.html")
    failed = [page.path.name for page in pages(folder) if "could not be made" in page.text]
    assert failed == ["encoder-counts.html"]


def test_a_page_is_left_out_where_it_does_not_want_to_be_shown(
    install: Install, brief: StudyResult, arms: StudyResult, tmp_path: Path
) -> None:
    install("values, order=35", "values, 35, lambda study: study.strategy.kind == 'arms'")
    assert "encoder-counts" not in dict(navigation(brief))
    assert "encoder-counts" in dict(navigation(arms))
    assert not (build(brief, tmp_path / "report").parent / "encoder-counts.html").exists()


def test_a_name_of_ours_stays_ours(install: Install, greedy: StudyResult) -> None:
    install(name="cost")
    assert dict(navigation(greedy))["cost"] == "Cost"


def test_a_file_and_its_template_alone_add_a_page(tmp_path: Path, own_home: Path) -> None:
    added = {"novelty.py": NOVELTY, "novelty.html": TEMPLATE}
    pages = {f"ablate/reports/pages/{name}": text for name, text in added.items()}
    site = overlay(tmp_path / "site", pages)
    listed = json.loads(run(own_home, site, "list", "pages", "--json").stdout)
    assert "novelty" in [row["page"] for row in listed]
    run(own_home, site, "report", "micro/smoke")
    [page] = own_home.glob("reports/**/novelty.html")
    assert "clip-micro@32 : 1" in words(page)
