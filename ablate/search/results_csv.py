"""Results that a user has as a CSV file: a row a candidate and benchmark.

Columns, in any order: `candidate` (an arm, or encoders with `+` between them), `benchmark` (as the
study's suite calls it), `score` (0 to 100), and where they are known `cost` (GPU-hours of the whole
candidate, the same on all of its rows) and `seed`. Other columns are left alone, and so are lines
that begin with `#`: the report's `cells.csv` is such a file.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ablate.config.study import Study
from ablate.errors import UserError, nearest
from ablate.parsing.validation import SEEDS
from ablate.search.tabulated import Entry, Points, ScoreTable

NEEDED = ("candidate", "benchmark", "score")


@dataclass
class _Run:
    """What has been read of one run of a candidate: where it begins, its cost as it is written, and
    by task each score with its line."""

    where: str
    cost: str
    scores: dict[str, float] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


def read_csv(path: Path, study: Study) -> ScoreTable:
    """The table in the file. Raises UserError for what is amiss, with its file, line and column."""
    points, tasks = Points(study), _tasks(study)
    runs: dict[tuple[str, int | None], _Run] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        with _column(where, "candidate"):
            point = points.resolve(row["candidate"])
        with _column(where, "benchmark"):
            task = _task(row["benchmark"], tasks)
        with _column(where, "seed"):
            seed = _seed(row["seed"]) if row.get("seed") else None
        run = runs.setdefault((point, seed), _Run(where, row.get("cost", "")))
        with _column(where, "benchmark"):
            if task in run.lines:
                raise UserError(
                    f"'{point}' has its score of {row['benchmark']} in line {run.lines[task]}"
                )
        with _column(where, "score"):
            run.scores[task], run.lines[task] = _number(row["score"], most=100.0), line
        with _column(where, "cost"):
            if row.get("cost", "") != run.cost:
                raise UserError(f"{row['cost'] or 'none'}, but {run.cost or 'none'} in {run.where}")
            if run.cost:
                _number(run.cost)
    _check(path, runs, tasks)
    entries = [
        Entry(point, run.scores, run.where, float(run.cost) if run.cost else None, seed)
        for (point, seed), run in runs.items()
    ]
    return ScoreTable(study, str(path), entries)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row by its columns, with the number of its line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            heads: list[str] = []
            for cells in reader:
                row = [cell.strip() for cell in cells]
                if not any(row) or row[0].startswith("#"):
                    continue
                where = f"{path}, line {reader.line_num}"
                if not heads:
                    heads = _heads(row, where)
                elif len(row) != len(heads):
                    raise UserError(f"{where}: {len(row)} cells under {len(heads)} headings")
                else:
                    yield reader.line_num, dict(zip(heads, row, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UserError(f"{path}: cannot be read: {reason}") from None


def _heads(row: list[str], where: str) -> list[str]:
    """The headings, if what is needed is among them and none comes twice."""
    for name in NEEDED:
        if name not in row:
            raise UserError(f"{where}: no column '{name}'; its headings are {', '.join(row)}")
    for name in (*NEEDED, "cost", "seed"):
        if row.count(name) > 1:
            raise UserError(f"{where}: column '{name}' is there twice")
    return row


@contextmanager
def _column(where: str, name: str) -> Iterator[None]:
    """Put file, line and column before the message of an error raised inside."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}, column {name}: {error}") from None


def _tasks(study: Study) -> dict[str, str]:
    """The suite's tasks by every name a benchmark may go by, the one to show first."""
    tasks: dict[str, str] = {}
    for task in study.asks.tasks:
        for name in (task.title, task.benchmark, task.task):
            tasks.setdefault(name, task.task)
    tasks.pop("", None)
    return tasks


def _task(name: str, tasks: Mapping[str, str]) -> str:
    if name not in tasks:
        raise UserError(f"no benchmark '{name}' in the study's suite{nearest(name, tasks)}")
    return tasks[name]


def _number(text: str, most: float = math.inf) -> float:
    """A number from 0 to `most`."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"'{text}' is no number") from None
    if not (0.0 <= value <= most and math.isfinite(value)):
        valid = f"from 0 to {most:g}" if most < math.inf else "0 or more"
        raise UserError(f"{text} is not {valid}")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > SEEDS:
        raise UserError(f"'{text}' is no seed: a whole number from 0 to {SEEDS}")
    return int(text)


def _check(
    path: Path, runs: Mapping[tuple[str, int | None], _Run], tasks: Mapping[str, str]
) -> None:
    """UserError for a cell that is missing, and for a benchmark on another scale."""
    if not runs:
        raise UserError(f"{path}: no row with a score")
    titles: dict[str, str] = {}
    for name, task in tasks.items():
        titles.setdefault(task, name)
    for (point, seed), run in runs.items():
        for task, title in titles.items():
            if task not in run.scores:
                of = "" if seed is None else f" with seed {seed}"
                raise UserError(f"{run.where}: '{point}'{of} has no score of {title}")
    for task, title in titles.items():
        highest = max(run.scores[task] for run in runs.values())
        if 0.0 < highest <= 1.0:
            raise UserError(
                f"{path}, column score: no score of {title} is above {highest:g}; scores are in "
                "0 to 100"
            )
