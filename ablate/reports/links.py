"""Addresses inside the report, as its pages write them: in a folder of files, or within one file.

A page is a section whose id is its path, in both forms: `answers?a=0&b=2` behind the `#` says which
section to show and what to show in it.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlencode


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

    def image(self, name: str) -> str:
        """An image of the answers."""
        return f"{self.root}images/{name}"


class Within(Links):
    """In the one file, which carries tables and images (both by name) as `data:` addresses."""

    def __init__(self, tables: Mapping[str, str], images: Mapping[str, str]) -> None:
        super().__init__("")
        self.tables, self.images = tables, images

    def page(self, path: str, **query: object) -> str:
        return _fragment(path, query)

    def table(self, name: str) -> str:
        return f"data:text/plain;charset=utf-8,{quote(self.tables[name])}"

    def image(self, name: str) -> str:
        return self.images[name]


def _fragment(path: str, query: Mapping[str, object]) -> str:
    return f"#{path}{'?' if query else ''}{urlencode(query)}"
