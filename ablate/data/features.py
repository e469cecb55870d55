"""What frozen encoders make of every image of a source, on the disk, in place of its pixels.

Shapes: F values an image, of all encoders side by side.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt


class Features:
    """Rows of (F,) float32, one for each image of a source in the order of its index; `[image]`.

    `files`: one for each encoder, its rows end to end. They are mapped into memory, which those who
    read them share. Pickled, it is its files alone.
    """

    def __init__(self, files: Sequence[Path], images: int) -> None:
        self.files, self.images = tuple(files), images
        self._parts = [
            np.memmap(file, dtype=np.float32, mode="r").view(np.ndarray).reshape(images, -1)
            for file in self.files
        ]

    def __reduce__(self) -> tuple[type["Features"], tuple[tuple[Path, ...], int]]:
        return Features, (self.files, self.images)

    def __getitem__(self, image: int) -> npt.NDArray[np.float32]:
        return np.concatenate([part[image] for part in self._parts])
