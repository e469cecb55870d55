"""The published numbers, as data: each with its source, the paper's version, and its trust.

What was not found is missing, never made up. `published.json` is read once and checked whole.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, model_validator

from ablate.errors import UserError, nearest


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Fields):
    """Where numbers are from: `primary` is the authors' own word, `secondary` someone else's."""

    what: str
    trust: Literal["primary", "secondary"]


class Column(_Fields):
    """What a column measures. `full` is the best score there can be, in the published unit; a cost
    has none. `benchmark` is one of a suite's; an average over other columns has `mean_of`. A column
    with neither is no score of ours. `note` says what is not alike.
    """

    full: PositiveFloat | None = None
    benchmark: str | None = None
    mean_of: tuple[str, ...] = ()
    note: str = ""


class Row(_Fields):
    """One row of a table; null for a cell that was not found."""

    name: str
    cells: tuple[float | None, ...]


class Doubt(_Fields):
    """A cell that is there but not to be relied on."""

    row: str
    column: str
    why: str


class Table(_Fields):
    """One published table. `finding` is what it shows, `missing` what of it was not found."""

    id: str
    title: str
    source: str
    version: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    suspect: tuple[Doubt, ...] = ()
    finding: str = ""
    missing: str = ""
    caution: str = ""

    def cell(self, row: str, column: str) -> float | None:
        """The number as it is published. Raises `UserError` for a row there is not."""
        return self.row(row).cells[self.columns.index(column)]

    def row(self, name: str) -> Row:
        """The row of that name. Raises `UserError` where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        names = [row.name for row in self.rows]
        raise UserError(f"{self.id} has no row '{name}'{nearest(name, names)}")

    def doubt(self, row: str, column: str) -> str:
        """Why the cell is not to be relied on; empty if it is."""
        return next((one.why for one in self.suspect if (one.row, one.column) == (row, column)), "")

    @property
    def lead(self) -> str | None:
        """The column that ranks the rows, if there is one."""
        return next((name for name in ("Avg", "Average") if name in self.columns), None)


class Book(_Fields):
    """All of `published.json`."""

    paper: dict[str, str]
    note: str
    sources: dict[str, Source]
    columns: dict[str, Column]
    tables: tuple[Table, ...]

    @model_validator(mode="after")
    def _whole(self) -> "Book":
        """Every name leads somewhere, every row has a cell a column, doubts are about numbers."""
        for column in self.columns.values():
            _known(column.mean_of, self.columns)
        _distinct([table.id for table in self.tables])
        for table in self.tables:
            _known([table.source], self.sources)
            _known(table.columns, self.columns)
            _distinct([row.name for row in table.rows])
            for row in table.rows:
                if len(row.cells) != len(table.columns):
                    raise ValueError(f"{table.id}: {row.name}: {len(row.cells)} cells")
            for one in table.suspect:
                if table.cell(one.row, one.column) is None:
                    raise ValueError(f"{table.id}: {one.row}: doubt about nothing")
        return self


def _known(
    names: tuple[str, ...] | list[str], there: dict[str, Source] | dict[str, Column]
) -> None:
    for name in names:
        if name not in there:
            raise ValueError(f"'{name}' is not there{nearest(name, there)}")


def _distinct(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"a name comes twice: {', '.join(names)}")


@cache
def book() -> Book:
    """All published numbers."""
    return Book.model_validate_json(Path(__file__).with_name("published.json").read_bytes())


def table(name: str) -> Table:
    """The table of that id. Raises `UserError` where there is none."""
    for found in book().tables:
        if found.id == name:
            return found
    raise UserError(
        f"no published table '{name}'{nearest(name, [one.id for one in book().tables])}"
    )
