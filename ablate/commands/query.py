"""`ablate query`: SQL over all that a home's store holds, by DuckDB."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.commands.output import columns, emit_json, emit_parquet, say
from ablate.errors import UserError
from ablate.files import home
from ablate.store import tables

if TYPE_CHECKING:
    import pandas as pd


def show(sql: str, form: str | None) -> None:
    """Print what the query gives, in columns or a format."""
    frame = ask(sql, home())
    if form == "parquet":
        emit_parquet(frame)
    elif form == "csv":
        say(frame.to_csv(index=False).removesuffix("\n"))
    elif form == "json":
        emit_json({"columns": list(frame.columns), "rows": _rows(frame)})
    else:
        say(columns(list(frame.columns), [list(row.values()) for row in _rows(frame)]))


def ask(sql: str, home: Path) -> "pd.DataFrame":
    """What a query over `ablate.store.tables` gives; `UserError` where it is none.

    It is asked of a copy in memory, and reaches nothing else.
    """
    try:
        import duckdb
    except ImportError:
        raise UserError("a query needs DuckDB: pip install 'ablate-vlm[query]'") from None
    with duckdb.connect(":memory:") as base:
        _fill(base, "steps", tables.STEPS, tables.steps(home))
        _fill(base, "candidates", tables.CANDIDATES, tables.candidates(home))
        _fill(base, "cells", tables.CELLS, tables.cells(home))
        _fill(base, "answers", tables.ANSWERS_TABLE, ())
        if "answers" in sql.lower():  # they are many
            for key, file in tables.answer_files(home).items():
                _add_answers(base, key, file)
        base.execute("SET enable_external_access = false")
        try:
            answer = base.execute(sql)
            frame: pd.DataFrame | None = None if answer is None else answer.df()
        except duckdb.Error as error:
            raise UserError(f"query: {' '.join(str(error).split())}") from None
    if frame is None:
        raise UserError("query: it asks for nothing, as `select count(*) from steps` does")
    return frame


def _fill(base: Any, name: str, types: Mapping[str, str], rows: Iterable[tables.Row]) -> None:
    written = ", ".join(f"{column} {kind}" for column, kind in types.items())
    base.execute(f"CREATE TABLE {name} ({written})")
    values = [[row[column] for column in types] for row in rows]
    if values:
        base.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' for _ in types)})", values)


def _add_answers(base: Any, key: str, file: Path) -> None:
    types = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in tables.ANSWER.items()) + "}"
    path = str(file).replace("[", "[[]")  # it takes patterns
    base.execute(
        f"INSERT INTO answers SELECT ?, * FROM read_json(?, format = 'nd', columns = {types})",
        [key, path],
    )


def _rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows as JSON has them: what is not there is null, what has no JSON is text."""
    text = frame.to_json(
        orient="records", date_format="iso", default_handler=str, double_precision=15
    )
    rows: list[dict[str, Any]] = json.loads(text)
    return rows
