"""What README and docs point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ROOMS = "ablate|fusion_zoo|reports|sweeps|docs|tests|benchmarks"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    named = re.findall(rf"`((?:{ROOMS})/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing + [name for name in named if not (ROOT / name).exists()] == []


SHELL = [
    *PAGES,
    *(path for room in ("commands", "cli") for path in (ROOT / "ablate" / room).glob("*.py")),
]


@pytest.mark.parametrize("page", SHELL, ids=lambda page: page.name)
def test_what_is_typed_in_a_shell_has_its_brackets_quoted(page: Path) -> None:
    """Zsh takes `[` for a pattern, and ends where no file has that name."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"--set +[^'\s`\"]*=[\[{][^\s`]*", text) == []
