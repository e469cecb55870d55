"""Results on stdout, as JSON or as columns of text; everything else belongs on stderr.

Whatever a command prints goes through here, `printable` (the live view and the tables of a
terminal, which hold escape sequences of their own, see to their cells).
"""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from ablate.errors import UserError
from ablate.printable import one_line, printable, printable_json

if TYPE_CHECKING:
    import pandas as pd

GAP = 2
"""Blanks between columns."""
NARROW = 10
"""Characters that a column keeps on a terminal, however narrow that is."""


def emit_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    sys.stdout.write(printable_json(json.dumps(value, indent=1, ensure_ascii=False)) + "\n")


def emit_parquet(frame: "pd.DataFrame") -> None:
    """A frame as Parquet on stdout, which must be a file or a pipe."""
    if on_terminal(sys.stdout):
        raise UserError(
            "parquet is no text for a terminal: put `> FILE.parquet` behind the command"
        )
    plain = frame.copy()
    plain.attrs = {}
    sys.stdout.flush()
    plain.to_parquet(sys.stdout.buffer, index=False)


def say(text: str) -> None:
    """Print a result, and an end of line."""
    print(printable(text), flush=True)


def note(line: str) -> None:
    """A line about what is going on, on stderr."""
    print(printable(line), file=sys.stderr, flush=True)


def on_terminal(stream: TextIO) -> bool:
    """Whether someone reads it there, and it can be drawn upon."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Characters of a line where someone reads stdout; without end in a file or a pipe."""
    return shutil.get_terminal_size().columns if on_terminal(sys.stdout) else sys.maxsize


def folded(text: str) -> str:
    """The text, on a terminal with lines that go on in a next one before a word, not within."""
    width = terminal_width()
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def columns(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their headings, columns padded to align.

    On a terminal they fit: the widest columns give way, and their cells go on in further lines.
    """
    lines = [[one_line(cell) for cell in line] for line in (heads, *rows)]
    sizes = _fitting(list(zip(*lines, strict=True)), terminal_width())
    shown = []
    for line in lines:
        cells = [_folded_cell(cell, size) for cell, size in zip(line, sizes, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = [part.ljust(size) for part, size in zip(parts, sizes, strict=True)]
            shown.append((" " * GAP).join(padded).rstrip())
    return "\n".join(shown)


def _fitting(table: Sequence[Sequence[str]], width: int) -> list[int]:
    """Characters for each column, so that a line has no more than `width` if that can be.

    Columns of several words give way before those of names, the widest first, none below `NARROW`.
    """
    sizes = [max(map(len, column)) for column in table]
    wordy = [any(" " in cell for cell in column[1:]) for column in table]
    room = width - GAP * (len(sizes) - 1)
    every = range(len(sizes))
    for yielding in ([n for n in every if wordy[n]], every):
        while sum(sizes) > room:
            widest = max(yielding, key=sizes.__getitem__, default=0)
            if sizes[widest] <= NARROW:
                break
            sizes[widest] -= 1
    return sizes


class _CellWrapper(textwrap.TextWrapper):
    """Breaks a line at blanks, and within a mixture's name between its encoders."""

    wordsep_re = re.compile(r"(\s+|(?<=[+,])(?=\S)|(?=\.[a-z]))")


def _folded_cell(cell: str, size: int) -> list[str]:
    return _CellWrapper(size).wrap(cell) if len(cell) > size else [cell]
