"""Results on stdout, as JSON or as columns of text; everything else belongs on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def emit_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def note(line: str) -> None:
    """A line about what is going on, on stderr."""
    print(line, file=sys.stderr, flush=True)


def columns(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their headings, columns padded to align; the last one is left as it is."""
    padded = []
    for column in zip(heads, *rows, strict=True):
        cells = [str(cell) for cell in column]
        width = max(map(len, cells))
        padded.append([cell.ljust(width) for cell in cells])
    return "\n".join(["  ".join(line).rstrip() for line in zip(*padded, strict=True)])
