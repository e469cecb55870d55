"""The code of the documentation, block by block.

A block that no test can run says so in the line before it, `<!-- not run: REASON -->`.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Block(NamedTuple):
    """`language`: of an indented block `console`; `unrun`: why no test runs it, or nothing."""

    page: Path
    line: int
    language: str
    text: str
    unrun: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that it is to be saved as, by its first line."""
        match = re.match(r"(?:# |\{# )([\w./-]+\.\w+)(?: #\})?\n", self.text)
        return match and match[1]


def blocks(*languages: str, pages: list[Path] = PAGES) -> Iterator[Block]:
    """Every block of these languages."""
    for page in pages:
        unrun = ""
        for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
            mark = re.match(r"<!-- not run: (.+?) -->", token.content)
            if token.type in ("fence", "code_block") and token.map:
                language = token.info if token.type == "fence" else "console"
                if language in languages or not languages:
                    yield Block(page, token.map[0] + 1, language, token.content, unrun)
            unrun = mark[1] if mark else ""


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line of a shell, without what is set before and where its output goes."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        ends = [number for number, word in enumerate(words) if word in ("|", ">", ">>")]
        if words:
            yield words[: ends[0]] if ends else words
