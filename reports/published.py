"""The published numbers a report shows beside its own, each with its source and its trust.

They are a reference, never a baseline: other data, other sizes, other scales.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class PublishedTable:
    """One published table: `rows` are `{name, score, ...}`; `about` is a study's axis."""

    id: str
    about: str
    title: str
    row: str
    unit: str
    version: str
    rows: tuple[dict[str, Any], ...]
    caution: str
    source: str
    trust: str


@cache
def tables() -> tuple[PublishedTable, ...]:
    """Every table of `published.json`."""
    data = json.loads(files("reports").joinpath("published.json").read_text(encoding="utf-8"))
    return tuple(
        PublishedTable(
            **{key: table[key] for key in ("id", "about", "title", "row", "unit", "version")},
            rows=tuple(table["rows"]),
            caution=table["caution"],
            source=data["sources"][table["source"]]["what"],
            trust=data["sources"][table["source"]]["trust"],
        )
        for table in data["tables"]
    )


def about(axis: str) -> PublishedTable | None:
    """The published table that asks what a study over `axis` asks, or `None`."""
    return next((table for table in tables() if table.about == axis), None)
