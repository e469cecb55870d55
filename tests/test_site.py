"""The site that `make docs` builds: its links, its reference, and that it asks no host."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from mkdocs.structure.files import File, Files

from ablate.cli import app
from ablate.config.study import Written
from tools import docs_reference
from tools.docs_site import with_links_of_site

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files() -> Files:
    pages = ("index.md", "CHANGELOG.md", "training.md", "report.png", "extending/fusion.md")
    return Files([File(page, "docs", "site", use_directory_urls=False) for page in pages])


@pytest.mark.parametrize(
    ("path", "text", "shown"),
    [
        ("README.md", "[how](docs/training.md#a)", "[how](training.md#a)"),
        ("README.md", "![seen](docs/report.png)", "![seen](report.png)"),
        ("README.md", "[its source](ablate/api.py)", "its source (`ablate/api.py`)"),
        ("CHANGELOG.md", "[one](docs/extending/fusion.md)", "[one](extending/fusion.md)"),
        ("docs/training.md", "[`api.py`](../ablate/api.py)", "`ablate/api.py`"),
        ("docs/training.md", "[gone](../ablate/gone.py)", "[gone](../ablate/gone.py)"),
        ("docs/training.md", "[up](../README.md#try-it)", "[up](index.md#try-it)"),
        ("docs/training.md", "[a fusion](extending/fusion.md)", "[a fusion](extending/fusion.md)"),
        ("docs/extending/fusion.md", "[`fusion_zoo`](../../fusion_zoo)", "`fusion_zoo`"),
        ("docs/extending/fusion.md", "[how](../training.md)", "[how](../training.md)"),
        ("docs/extending/fusion.md", "[why](../../README.md)", "[why](../index.md)"),
        (
            "docs/training.md",
            "[paper](https://arxiv.org/abs/1)",
            "[paper](https://arxiv.org/abs/1)",
        ),
        ("docs/training.md", "[below](#here)", "[below](#here)"),
    ],
)
def test_a_link_leads_to_a_page_or_names_a_file(
    path: str, text: str, shown: str, files: Files
) -> None:
    assert with_links_of_site(text, path, files) == shown


def test_the_reference_has_every_command_and_every_word_of_it() -> None:
    sections = docs_reference.commands().split("\n## ")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        [section] = [part for part in sections if part.startswith(f"ablate {name}\n")]
        options = [word for param in command.params for word in param.opts if word[0] == "-"]
        assert [word for word in options if word not in section] == []


def test_the_reference_has_every_field_that_a_study_may_have() -> None:
    page = docs_reference.study()
    for model in (Written.model_json_schema(), *Written.model_json_schema()["$defs"].values()):
        for field in model["properties"].keys() - docs_reference.INNER:
            assert f"\n| `{field}` |" in page


@pytest.mark.browser
def test_the_site_opens_from_disk_asks_no_host_and_finds_words(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        for path in sorted(tmp_path.rglob("*.html")):
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == 390, path
        page.goto((tmp_path / "extending" / "fusion.html").as_uri())
        page.locator("label[for=__search]").first.click()
        page.locator("input.md-search__input").press_sequentially("indifference")
        page.locator(".md-search-result__meta", has_text="matching").wait_for()
        browser.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
