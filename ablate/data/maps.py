"""Maps that annotators drew of images, laid behind the colours of these as more channels.

A step of kind `annotate` leaves them in `notes.jsonl`: a row as for texts (`ablate.data.notes`),
with "maps" in place of "texts", one a picture: {"size": [width, height] of the picture, "shape":
[K,h,w], "values": zlib in base64}.

Shapes: H W pixels of a picture as it is looked at, K channels of a map, h w its grid.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ablate.catalog import annotators, step_kinds
from ablate.data.notes import FILE
from ablate.errors import UserError

Values = npt.NDArray[np.uint8]


def packed(drawn: Values, picture: Values) -> dict[str, Any]:
    """A map (K,h,w) of a picture (3,H,W) as JSON."""
    _, height, width = picture.shape
    values = base64.b64encode(zlib.compress(np.ascontiguousarray(drawn).tobytes())).decode()
    return {"size": [width, height], "shape": list(drawn.shape), "values": values}


def laid_behind(pixels: Values, packs: Iterable[Mapping[str, Any]], *, padded: bool) -> Values:
    """(3+K,H,W): a picture (3,H,W) as `as_array` made it, and behind it maps of it; `padded` where
    that made it square. Each pixel has what the map has where its middle lies, none in padding."""
    return np.concatenate([pixels, *(_laid_out(pack, pixels, padded) for pack in packs)])


def _laid_out(pack: Mapping[str, Any], pixels: Values, padded: bool) -> Values:
    """(K,H,W)."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(pack["values"])), dtype=np.uint8)
    drawn = values.reshape(pack["shape"])
    width, height = pack["size"]
    side = max(width, height)
    down = _cells(drawn.shape[1], height, side if padded else height, pixels.shape[1])
    across = _cells(drawn.shape[2], width, side if padded else width, pixels.shape[2])
    bordered = np.pad(drawn, ((0, 0), (0, 1), (0, 1)))  # what lies in padding has the last, empty
    return bordered[:, down][:, :, across]


def _cells(cells: int, length: int, side: int, pixels: int) -> npt.NDArray[np.int64]:
    """(pixels,) which cell each pixel lies in, of so many that cover `length` in the middle of
    `side`; beyond them all where it lies in none."""
    at = (np.arange(pixels) + 0.5) * side / pixels - (side - length) // 2
    inside = (at >= 0) & (at < length)
    return np.where(inside, at * cells / length, cells).astype(np.int64)


class Maps:
    """The maps of several annotators (`choices`, as in a step's spec), from the `folders` of the
    steps that drew them, by role. Of what they hold it remembers where each row begins."""

    def __init__(
        self, choices: Sequence[Mapping[str, Any]], folders: Mapping[str, Path], *, padded: bool
    ) -> None:
        roles = [f"{step_kinds.ANNOTATE}:{annotators.label(choice)}" for choice in choices]
        self.files = [folders[role] / FILE for role in roles]
        self.padded = padded

    @classmethod
    def of(
        cls, choices: Sequence[Mapping[str, Any]], folders: Mapping[str, Path], *, padded: bool
    ) -> "Maps | None":
        """None where nothing is looked at."""
        return cls(choices, folders, padded=padded) if choices else None

    @property
    def identity(self) -> list[str]:
        """Differs where the maps do: folders of steps are called by their keys."""
        return [file.parent.name for file in self.files]

    def behind(self, pixels: Values, group: str, of: str, number: int = 0) -> Values:
        """(3+K,H,W) a picture and all its maps: that of this number in a row of a source or task.

        UserError where none was drawn.
        """
        packs = []
        for file, begins in zip(self.files, self._begins, strict=True):
            maps: list[Any] = []
            if (group, of) in begins:
                with file.open("rb") as rows:
                    rows.seek(begins[group, of])
                    maps = json.loads(rows.readline())["maps"]
            if number >= len(maps):
                raise UserError(f"no map of it was drawn ({file.parent.name})")
            packs.append(maps[number])
        return laid_behind(pixels, packs, padded=self.padded)

    @cached_property
    def _begins(self) -> list[dict[tuple[str, str], int]]:
        """Of each file, the byte at which the row of an image or question begins."""
        return [_begins(file) for file in self.files]


def _begins(file: Path) -> dict[tuple[str, str], int]:
    begins, at = {}, 0
    with file.open("rb") as rows:
        for line in rows:
            row = json.loads(line)
            begins[row["set"], row["of"]] = at
            at += len(line)
    return begins
