"""The published numbers, as data: each with its source, the paper's version, and its trust.

What was not found is missing, never made up. `published.json` is read once and checked whole. An
average that is not printed is computed by its rule from the row's own cells, and says so.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product
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
    has none. `benchmark` is one of a suite's; an average over other columns, each on the scale of
    the average, has `mean_of`. A column with neither is no score of ours. `note` says what is not
    alike. `cost` is what of a design's cost it is: parameters in millions (of the vision encoders,
    or with fusion and projector), 1e9 multiply-adds as `cost.published_count` counts, or tokens.
    """

    full: PositiveFloat | None = None
    benchmark: str | None = None
    mean_of: tuple[str, ...] = ()
    note: str = ""
    cost: (
        Literal["vision_parameters", "projected_parameters", "multiply_adds", "visual_tokens"]
        | None
    ) = None


class Row(_Fields):
    """One row of a table; null for a cell that was not found.

    `encoders`: the experts of the mixture it is, by the names in `Book.experts`.
    """

    name: str
    cells: tuple[float | None, ...]
    encoders: tuple[str, ...] = ()


class Doubt(_Fields):
    """Cells that are there but not to be relied on."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
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
        """The number as it is published, or as it follows from the row's other cells.

        Raises `UserError` for a row or a column there is not.
        """
        printed = self.printed(row, column)
        return self.mean(row, column) if printed is None else printed

    def printed(self, row: str, column: str) -> float | None:
        """The number as it is published. Raises `UserError` for a row or a column there is not."""
        if column not in self.columns:
            raise UserError(f"{self.id} has no column '{column}'{nearest(column, self.columns)}")
        return self.row(row).cells[self.columns.index(column)]

    def computed(self, row: str, column: str) -> bool:
        """Whether a number is there that is not published, but follows from those that are."""
        return self.printed(row, column) is None and self.cell(row, column) is not None

    def mean(self, row: str, column: str) -> float | None:
        """The mean that an average is of the row's own cells, to a tenth; None where one lacks."""
        columns = book().columns
        shares = []
        for part in self.parts(column):
            value, full = self.printed(row, part), columns[part].full
            if value is None or full is None:
                return None
            shares.append(value / full)
        return round((columns[column].full or 0) * sum(shares) / len(shares), 1) if shares else None

    def parts(self, column: str) -> list[str]:
        """The table's own columns that an average is over; none where it lacks one."""
        columns = book().columns
        there = {columns[name].benchmark or name: name for name in self.columns}
        parts = [there.get(columns[part].benchmark or part) for part in columns[column].mean_of]
        present = [part for part in parts if part]
        return present if len(present) == len(parts) else []

    def row(self, name: str) -> Row:
        """The row of that name. Raises `UserError` where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        names = [row.name for row in self.rows]
        raise UserError(f"{self.id} has no row '{name}'{nearest(name, names)}")

    def doubt(self, row: str, column: str) -> str:
        """Why the cell is not to be relied on; empty if it is."""
        reasons = (
            doubt.why for doubt in self.suspect if row in doubt.rows and column in doubt.columns
        )
        return next(reasons, "")

    def mixture(self, families: Iterable[str]) -> Row | None:
        """The row that has the experts of these encoder families, in any order."""
        wanted = set(families)
        for row in self.rows:
            groups = [set(book().experts[name]) for name in row.encoders]
            if len(groups) == len(wanted) and all(group & wanted for group in groups):
                return row
        return None

    @property
    def lead(self) -> str | None:
        """The column that ranks the rows, if there is one."""
        return next((name for name in ("Avg", "Average") if name in self.columns), None)


class Book(_Fields):
    """All of `published.json`. `experts`: the encoder families that a published name stands for."""

    paper: dict[str, str]
    note: str
    sources: dict[str, Source]
    columns: dict[str, Column]
    experts: dict[str, tuple[str, ...]]
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
                _known(row.encoders, self.experts)
            for doubt in table.suspect:
                for name, measure in product(doubt.rows, doubt.columns):
                    if table.printed(name, measure) is None:
                        raise ValueError(f"{table.id}: {name}: doubt about nothing")
        return self


def _known(names: Iterable[str], there: Mapping[str, object]) -> None:
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
    for each in book().tables:
        if each.id == name:
            return each
    raise UserError(
        f"no published table '{name}'{nearest(name, [each.id for each in book().tables])}"
    )
