"""What frozen encoders make of every image of a source, on the disk, in place of its pixels.

Shapes: I images, V views of one, F values a view, of all encoders side by side.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Features:
    """Rows of (F,) float32, one for each image of a source in the order of its index; `[image]`.

    `files`: one for each encoder, its rows end to end. `views`: (I,) how many rows each image has,
    where it is cut into views; `[image]` is (V,F) then. The files are mapped into memory, which
    those who read them share. Pickled, it is its files alone.
    """

    def __init__(
        self, files: Sequence[Path], images: int, views: npt.NDArray[np.int64] | None = None
    ) -> None:
        self.files, self.images, self.views = tuple(files), images, views
        rows = images if views is None else int(views.sum())
        self._ends = None if views is None else np.cumsum(views)
        self._parts = [
            np.memmap(file, dtype=np.float32, mode="r").view(np.ndarray).reshape(rows, -1)
            for file in self.files
        ]

    def __reduce__(self) -> tuple[type["Features"], tuple[Any, ...]]:
        return Features, (self.files, self.images, self.views)

    def __getitem__(self, image: int) -> npt.NDArray[np.float32]:
        if self.views is None or self._ends is None:
            return np.concatenate([part[image] for part in self._parts])
        rows = slice(self._ends[image] - self.views[image], self._ends[image])
        return np.concatenate([part[rows] for part in self._parts], axis=1)
