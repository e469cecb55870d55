"""Rows of conversations from files and folders, streamed: what a path is decides how it is read.

| path | is read as |
|---|---|
| a file of text that begins with `[` | one JSON list of rows |
| another file of text | JSONL, one row a line |
| a `.parquet` file, or a folder of them (also in folders below) | parquet |
| a folder that `datasets` saved with `save_to_disk` | its Arrow files |

In parquet and Arrow an image may be embedded: bytes, or a struct of `bytes` and `path` as the
`Image` feature of `datasets` has it. Nothing is held but the rows at hand.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Protocol, TextIO

from ablate.data.bad import reason
from ablate.errors import UserError, nearest

BLOCK = 2**20
"""Characters of a JSON list read at a time."""

LONGEST = 2**24
"""Characters no single text of a JSON list is longer than: what fails that far back is wrong."""

BATCH = 64
"""Rows of parquet or Arrow decoded at a time: with embedded images, some tens of MB."""

COLUMNS = ("id", "image", "conversations")


@dataclass(frozen=True)
class Unreadable:
    """Stands for a row that could not be read, and says why."""

    reason: str


class Reader(Protocol):
    """The rows of a source, numbered in a way a person can find them by."""

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Each row's number and value (`Unreadable` where it is none)."""

    def where(self, number: int) -> str:
        """The file and row of that number, for errors."""


def reader(path: Path) -> Reader:
    """The reader for what is at `path`. Raises `UserError` where there is nothing to be read."""
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
            choices = ", ".join(str(path / split) for split in splits)
            raise UserError(f"{path} holds several splits; name one of {choices}")
        if (path / "state.json").is_file():
            return Saved(path)
        shards = tuple(sorted(path.rglob("*.parquet")))
        if not shards:
            raise UserError(f"{path} holds no parquet files and no dataset that was saved to disk")
        return Parquet(shards)
    if not path.is_file():
        raise UserError(f"no conversations at {path}")
    if path.suffix == ".parquet":
        return Parquet((path,))
    with path.open("rb") as file:
        is_list = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"["
    return List(path) if is_list else Lines(path)


@dataclass(frozen=True)
class Lines:
    """JSONL; a row's number is its line's. Empty lines are passed over."""

    path: Path

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _value(line)

    def where(self, number: int) -> str:
        return f"{self.path}:{number}"


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return Unreadable(f"not JSON: {error.msg}")
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8: {error.reason}")
    except Exception as error:  # nested too deeply, a number too long to read
        return Unreadable(f"not to be decoded: {reason(error)}")


@dataclass(frozen=True)
class List:
    """One JSON list, of which a block at a time is held. What breaks the list ends the reading."""

    path: Path

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        # A byte that is not UTF-8 becomes half a character, and its row is refused for that.
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from enumerate(_Text(self.path, file).items(), start=1)

    def where(self, number: int) -> str:
        return f"{self.path}, row {number}"


class _Text:
    """A window on a long JSON text, moved along it value by value."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.text, self.offset, self.line = "", 0, 1  # `line` is that of the window's beginning

    def items(self) -> Iterator[Any]:
        """The items of the list that the text is. `UserError` where anything follows the list."""
        self._take("[")
        if self._next() != "]":
            yield self._value()
        while self._next() != "]":
            self._take(",")
            yield self._value()
        self._take("]")
        if self._next():
            raise UserError(
                f"{self.path}:{self._here()}: more after the end of the list; a file is one JSON "
                "list of rows, or JSONL with one row, an object, a line"
            )

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = _DECODE(self.text, self.offset)
            except json.JSONDecodeError as error:
                line = self.line + error.lineno - 1
                if len(self.text) - error.pos > LONGEST or not self._more():
                    raise UserError(f"{self.path}:{line}: not JSON: {error.msg}") from None
                continue
            except Exception as error:  # as `_value`
                self._skip()
                return Unreadable(f"not to be decoded: {reason(error)}")
            # At the edge a number may go on, and has to where it reads `1e+` so far.
            if end + len("e+") < len(self.text) or not self._more():
                self.offset = end
                return value

    def _skip(self) -> None:
        """Move past the value that begins here, of which only the brackets need to be right."""
        depth = 0
        while True:
            token = _TOKEN.match(self.text, self.offset)
            if token is None or token.end() == len(self.text):
                held = len(self.text) - self.offset
                if held <= LONGEST and self._more():
                    continue
                if token is None:
                    raise UserError(f"{self.path}:{self._here()}: not JSON: a row without an end")
            self.offset = token.end()
            depth += (token[1] in "[{") - (token[1] in "]}")
            if depth <= 0:
                return

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise UserError(f"{self.path}:{self._here()}: not JSON: Expecting '{mark}'")
        self.offset += 1

    def _here(self) -> int:
        """The line of the next character."""
        return self.line + self.text.count("\n", 0, self.offset)

    def _next(self) -> str:
        """The next character that is not blank, not yet taken; nothing at the end."""
        while True:
            blank = _BLANK.match(self.text, self.offset)
            self.offset = blank.end() if blank else self.offset
            if self.offset < len(self.text):
                return self.text[self.offset]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Drop what was taken and read on, at least as much as is held: time stays linear."""
        block = self.file.read(max(BLOCK, len(self.text) - self.offset))
        if block:
            self.line += self.text.count("\n", 0, self.offset)
            self.text, self.offset = self.text[self.offset :] + block, 0
        return bool(block)


_DECODE = json.JSONDecoder().raw_decode
_BLANK = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'[\s,:]*("[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^\s,:"\[\]{}]+)', re.DOTALL)


class Parquet:
    """Parquet files one after the other; rows are numbered through, and named within their file."""

    def __init__(self, files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        self.files = files
        counts = []
        for file in files:
            with _readable(file):
                counts.append(pq.read_metadata(file).num_rows)
        self.ends = list(accumulate(counts))

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return enumerate(chain.from_iterable(map(self._file, self.files)), start=1)

    def _file(self, path: Path) -> Iterator[Any]:
        import pyarrow.parquet as pq

        with _readable(path), pq.ParquetFile(path) as file:
            columns = _columns(path, file.schema_arrow.names)
            yield from chain.from_iterable(map(_decoded, file.iter_batches(BATCH, columns=columns)))

    def where(self, number: int) -> str:
        file = bisect_left(self.ends, number)
        before = self.ends[file - 1] if file else 0
        return f"{self.files[file]}, row {number - before}"


class Saved:
    """A dataset that `datasets` saved to disk, by its memory-mapped Arrow files."""

    def __init__(self, path: Path) -> None:
        import datasets

        self.path = path
        with _readable(path):
            self.rows = datasets.load_from_disk(str(path))

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        columns = _columns(self.path, self.rows.column_names)
        tables = self.rows.select_columns(columns).with_format("arrow").iter(BATCH)
        return enumerate(chain.from_iterable(map(_decoded, tables)), start=1)

    def where(self, number: int) -> str:
        return f"{self.path}, row {number}"


def _decoded(table: Any) -> list[Any]:
    """The rows of an Arrow table or batch; where one cannot be decoded, each by itself."""
    try:
        rows: list[Any] = table.to_pylist()
    except Exception as error:  # such as a text that is not UTF-8
        if table.num_rows == 1:
            return [Unreadable(f"not to be decoded: {reason(error)}")]
        rows = [row for n in range(table.num_rows) for row in _decoded(table.slice(n, 1))]
    return rows


def _columns(path: Path, names: Sequence[str]) -> list[str]:
    if "conversations" not in names:
        raise UserError(f"{path}: no column 'conversations'{nearest('conversations', names)}")
    return [name for name in COLUMNS if name in names]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read: {message}") from None
