"""Tokenised conversations as flat arrays on disk, mapped into memory.

Whoever reads them shares them through the page cache: N workers of a DataLoader hold one copy, and
of a sample only its own bytes are touched. They are written in one pass, a chunk of rows at a time.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ablate.data.batch import BETWEEN_ANSWERS
from ablate.data.chat import Tokens
from ablate.files import read_json, write_json

ARRAYS: Mapping[str, type[np.generic]] = MappingProxyType(
    {
        "ids": np.int32,  # the tokens of all rows, end to end
        "learn": np.bool_,  # whether each of them is learnt from
        "starts": np.int64,  # where each row's tokens start, and where the last one's end
        "learnt": np.int32,  # how many tokens of each row are learnt from
        "numbers": np.int64,  # the row's number in the source, as its reader counts
        "image_starts": np.int64,  # each row's first image, and where the last one's end
        "file_starts": np.int64,  # each image's first byte in `files`, and where the last one ends
        "embedded": np.bool_,  # whether an image is there as a whole, or only its path
        "files": np.uint8,  # the images' paths (as the file system has them) or files, end to end
        "id_starts": np.int64,  # each row's first byte in `row_ids`, and where the last one ends
        "row_ids": np.uint8,  # what the rows call themselves (UTF-8), end to end
    }
)
REPORT = "index.json"


class Row(NamedTuple):
    """A row as an index has it: its number in the source, its id there, its images, its tokens;
    and whether its answers are more than white space."""

    number: int
    identity: str
    images: Sequence[str | bytes]
    tokens: Tokens
    spoken: bool = True


class Writer:
    """Writes an index into a folder, to be used in a `with`; `close` makes it whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = ExitStack()
        self._array = {
            name: self._files.enter_context((folder / f"{name}.bin").open("wb")) for name in ARRAYS
        }
        self._ends = {"starts": 0, "image_starts": 0, "file_starts": 0, "id_starts": 0}
        for name, end in self._ends.items():
            self._put(name, [end])

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        if not rows:
            return
        learn = np.concatenate([row.tokens.learn for row in rows])
        lengths = np.array([len(row.tokens.ids) for row in rows])
        files = [image for row in rows for image in row.images]
        stored = [os.fsencode(file) for file in files]  # bytes stay as they are
        names = [row.identity.encode(errors="backslashreplace") for row in rows]
        self._put("ids", np.concatenate([row.tokens.ids for row in rows]))
        self._put("learn", learn)
        self._put("learnt", np.add.reduceat(learn, np.cumsum(lengths) - lengths, dtype=np.int64))
        self._put("numbers", [row.number for row in rows])
        self._put("embedded", [isinstance(file, bytes) for file in files])
        self._put("files", np.frombuffer(b"".join(stored), dtype=np.uint8))
        self._move("starts", lengths)
        self._move("image_starts", [len(row.images) for row in rows])
        self._move("file_starts", [len(file) for file in stored])
        self._put("row_ids", np.frombuffer(b"".join(names), dtype=np.uint8))
        self._move("id_starts", [len(name) for name in names])

    def close(self, report: Mapping[str, Any]) -> None:
        """Make the index whole, with what there is to say of it."""
        for file in self._array.values():
            file.flush()
            os.fsync(file.fileno())
        self._files.close()
        write_json(self.folder / REPORT, dict(report))

    def _move(self, name: str, lengths: npt.ArrayLike) -> None:
        ends = self._ends[name] + np.cumsum(np.asarray(lengths, dtype=np.int64))
        self._put(name, ends)
        self._ends[name] = int(ends[-1]) if len(ends) else self._ends[name]

    def _put(self, name: str, values: npt.ArrayLike) -> None:
        self._array[name].write(np.ascontiguousarray(values, dtype=ARRAYS[name]).data)


class Index:
    """What a `Writer` left in a folder; `len()` rows. Pickled, it is its folder alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report: dict[str, Any] = read_json(folder / REPORT)
        arrays = {name: _mapped(folder / f"{name}.bin", kind) for name, kind in ARRAYS.items()}
        self._ids, self._learn, self._files = arrays["ids"], arrays["learn"], arrays["files"]
        self._starts, self._file_starts = arrays["starts"], arrays["file_starts"]
        self._image_starts, self._embedded = arrays["image_starts"], arrays["embedded"]
        self._id_starts, self._row_ids = arrays["id_starts"], arrays["row_ids"]
        self.numbers: npt.NDArray[np.int64] = arrays["numbers"]
        self.learnt: npt.NDArray[np.int32] = arrays["learnt"]

    def __reduce__(self) -> tuple[type["Index"], tuple[Path]]:
        return Index, (self.folder,)

    def __len__(self) -> int:
        return len(self.numbers)

    def lengths(self) -> npt.NDArray[np.int64]:
        """How many tokens each row has, one for each image, (n,)."""
        return np.diff(self._starts)

    def longest(self) -> npt.NDArray[np.int64]:
        """How many tokens the longer conversation of each row has, where rows are pairs, (n,)."""
        cuts = np.flatnonzero(self._ids == BETWEEN_ANSWERS)
        longer: npt.NDArray[np.int64] = np.maximum(
            cuts - self._starts[:-1], self._starts[1:] - cuts - 1
        )
        return longer

    def images(self) -> npt.NDArray[np.int64]:
        """How many images each row has, (n,)."""
        return np.diff(self._image_starts)

    def tokens(self, row: int) -> Tokens:
        """The tokens of one row, copied."""
        span = slice(self._starts[row], self._starts[row + 1])
        return Tokens(np.array(self._ids[span]), np.array(self._learn[span]))

    @property
    def num_images(self) -> int:
        """How many images all rows have together."""
        return int(self._image_starts[-1])

    def image_numbers(self, row: int) -> range:
        """The images of one row, counted through all rows."""
        return range(self._image_starts[row], self._image_starts[row + 1])

    def files(self, row: int) -> list[str | bytes]:
        """The images of one row: paths, or image files as a whole."""
        files: list[str | bytes] = []
        for image in self.image_numbers(row):
            file = self._files[self._file_starts[image] : self._file_starts[image + 1]].tobytes()
            files.append(file if self._embedded[image] else os.fsdecode(file))
        return files

    def identity(self, row: int) -> str:
        """What the row calls itself; nothing if it does not."""
        return self._row_ids[self._id_starts[row] : self._id_starts[row + 1]].tobytes().decode()


def _mapped(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r").view(np.ndarray)
