"""Results on stdout, as JSON or as columns of text; everything else belongs on stderr.

Whatever a command prints goes through here, `printable` (the live view and the tables of a
terminal, which hold escape sequences of their own, see to their cells).
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ablate.errors import UserError
from ablate.printable import one_line, printable, printable_json

if TYPE_CHECKING:
    import pandas as pd


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


def columns(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their headings, columns padded to align; the last one is left as it is."""
    padded = []
    for column in zip(heads, *rows, strict=True):
        cells = [one_line(cell) for cell in column]
        width = max(map(len, cells))
        padded.append([cell.ljust(width) for cell in cells])
    return "\n".join(["  ".join(line).rstrip() for line in zip(*padded, strict=True)])
