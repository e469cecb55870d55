"""Addresses inside the report, as its pages write them: in a folder of files, or within one file.

A page is a section whose id is its path, in both forms: `answers?a=0&b=2` behind the `#` says which
section to show and what to show in it.
"""

import base64
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from markupsafe import Markup

from ablate.reports.drawing import Drawing


class Download(NamedTuple):
    """A table as a file: its name and what is in it."""

    name: str
    text: str


class Links:
    """From a page of the folder; `root` leads from it to the top: "" or "../"."""

    def __init__(self, root: str) -> None:
        self.root = root

    def page(self, path: str, **query: object) -> str:
        """Another page, e.g. `candidates/001`, with what it should show at first."""
        return f"{self.root}{path}.html{_fragment(path, query) if query else ''}"

    def table(self, name: str) -> str:
        """A table to download."""
        return f"{self.root}tables/{name}"

    def download(self, download: Download) -> str:
        """A table of a page, to download."""
        return self.table(download.name)

    def image(self, name: str) -> str:
        """An image of the answers."""
        return f"{self.root}images/{name}"

    def file(self, drawn: Drawing) -> str:
        """A figure to keep, as SVG."""
        return f"{self.root}figures/{drawn.name}.svg"

    def figure(self, drawn: Drawing) -> Markup:
        """A figure whose points lead to their pages."""
        return Markup(
            re.sub(r'href="page:([\w/-]+)"', lambda m: f'href="{self.page(m[1])}"', drawn.fragment)
        )


class Within(Links):
    """In the one file, which carries tables and images (both by name) as `data:` addresses."""

    def __init__(self, tables: Mapping[str, str], images: Mapping[str, str]) -> None:
        super().__init__("")
        self.tables, self.images = tables, images

    def page(self, path: str, **query: object) -> str:
        return _fragment(path, query)

    def table(self, name: str) -> str:
        return f"data:text/plain;charset=utf-8,{quote(self.tables[name])}"

    def download(self, download: Download) -> str:
        return f"data:text/plain;charset=utf-8,{quote(download.text, errors='replace')}"

    def image(self, name: str) -> str:
        return self.images[name]

    def file(self, drawn: Drawing) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(drawn.svg.encode()).decode()}"


def _fragment(path: str, query: Mapping[str, object]) -> str:
    return f"#{path}{'?' if query else ''}{urlencode(query)}"
