"""A table frame for people at a terminal: it fits, whatever its width; the winner is bold.

A table that is wider is stacked: the columns that do not fit beside the first ones follow below in
further tables of the same rows, each behind the rows' names, in the same order. None is left out.
"""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ablate.printable import one_line
from ablate.reports.formats import remarks, shown, text_columns
from ablate.reports.frame import COLUMNS
from ablate.reports.model import StudyResult

if TYPE_CHECKING:
    from rich.console import RenderableType

_NAMES = {COLUMNS[name][0] for name in ("round", "candidate", "arm", "benchmark", "setting")}
"""Headings of what a row is called by, which stand first."""
_MAIN = ("round", "candidate", "mark", "note", "score", "delta")
"""What the end of a run shows of the main table: columns, with their intervals."""
GAP = 2
"""Blanks between columns."""


def table(
    frame: pd.DataFrame,
    width: int,
    caption: str = "",
    notes: Sequence[str] = (),
    short: Sequence[str] = (),
) -> str:
    """The frame with a caption above and notes below, for a terminal of `width` characters.

    short: what candidates are called in the table, if not by their names. What is drawn holds
    escape sequences for bold and dim, those of its own alone.
    """
    from rich.console import Group
    from rich.text import Text

    below = [one_line(line) for line in (*remarks(frame), *notes)]
    if short:
        frame = frame.assign(candidate=pd.Series(list(short), frame.index, dtype=object))
    heads, rows = shown(frame)
    heads = [one_line(head) for head in heads]
    rows = [[one_line(cell) for cell in row] for row in rows]
    marks = frame["mark"] if "mark" in frame else [None] * len(rows)
    bold = [mark in ("winner", "best") for mark in marks]
    parts: list[RenderableType] = [Text(one_line(caption), style="bold"), ""] if caption else []
    for chosen in _stacked(heads, rows, width):
        parts += [_part(heads, rows, chosen, text_columns(frame), bold, width), ""]
    return drawn(Group(*parts, *(Text(f"{line}\n", style="dim") for line in below)), width)


def short_names(study: StudyResult, frame: pd.DataFrame) -> list[str]:
    """What a table's rows are called: in a search, what each candidate adds in its round.

    Without resolutions where each encoder of the study has but one.
    """
    if not study.strategy.goes_on:
        return [str(name) for name in frame["candidate"]]
    titles = {title for candidate in study.candidates for title in candidate.encoders}
    one_each = len({title.partition("@")[0] for title in titles}) == len(titles)
    labels = {
        (candidate.round, candidate.name): study.label(candidate) for candidate in study.candidates
    }
    names = [labels[row] for row in zip(frame["round"], frame["candidate"], strict=True)]
    return [re.sub(r"@\d+", "", name) if one_each else name for name in names]


def main_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The main table without what is of single benchmarks, or for machines."""
    stems = {name: str(name).removesuffix("_low").removesuffix("_high") for name in frame.columns}
    return frame[[name for name in frame.columns if stems[name] in _MAIN]]


def drawn(what: "RenderableType", width: int) -> str:
    """What rich can print as a terminal of that width takes it, ending in an end of line."""
    from rich.console import Console

    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, highlight=False, markup=False)
    console.print(what, end="")
    lines = file.getvalue().rstrip().split("\n")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _stacked(heads: list[str], rows: list[list[str]], width: int) -> list[list[int]]:
    """The columns of each of the tables that stand below one another."""
    from rich.cells import cell_len

    sizes = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    led = next((n for n, head in enumerate(heads) if head not in _NAMES), len(heads))
    lead = list(range(max(led, 1)))
    used = sum(min(sizes[n], _longest(width)) + GAP for n in lead)
    tables: list[list[int]] = [[]]
    room = width - used
    for n in range(len(lead), len(heads)):
        need = min(sizes[n], max(width - used, 1)) + GAP
        if tables[-1] and need - GAP > room:
            tables.append([])
            room = width - used
        tables[-1].append(n)
        room -= need
    return [[*lead, *columns] for columns in tables]


def _longest(width: int) -> int:
    """Characters of a name in a line; a longer one goes on in the next."""
    return max(width * 2 // 5, 12)


def _part(
    heads: list[str],
    rows: list[list[str]],
    chosen: list[int],
    text: list[bool],
    bold: list[bool],
    width: int,
) -> "RenderableType":
    """One of the stacked tables."""
    from rich.box import Box
    from rich.table import Table
    from rich.text import Text

    rule = Box(  # one of the blanks between columns is its
        "    \n    \n ── \n    \n    \n    \n    \n    \n"
    )
    made = Table(box=rule, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False)
    for n in chosen:
        made.add_column(
            Text(heads[n]),
            justify="left" if text[n] else "right",
            overflow="fold",
            max_width=_longest(width) if heads[n] in _NAMES else None,
        )
    for row, strong in zip(rows, bold, strict=True):
        made.add_row(*(Text(row[n]) for n in chosen), style="bold" if strong else "")
    return made
