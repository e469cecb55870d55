"""How large the images of a source are, found out once: of a tiled one the tokens follow from it.

Shapes: I images.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from ablate.data.images import image_size
from ablate.data.made import made
from ablate.data.prepare import Part, image_file
from ablate.data.tiles import Sizes
from ablate.errors import UserError

VERSION = 1
"""Raised when our code would find another size of the same file."""
FILE = "sizes.bin"
AT_ONCE, CHUNK = 16, 4096
"""Files that are opened at once, most of the time waiting for a disk; images between two writes."""


def image_sizes(part: Part, root: Path) -> Sizes:
    """Width and height (I,2) of each image in the order of the index, as a viewer shows it.

    One that cannot be opened counts as a single pixel: it is told where it is to be learnt from.
    """

    def fill(folder: Path) -> None:
        files = _files(part)
        with (folder / FILE).open("wb") as file, ThreadPoolExecutor(AT_ONCE) as pool:
            while chunk := list(islice(files, CHUNK)):
                np.array(list(pool.map(_size, chunk)), dtype=np.int64).tofile(file)

    folder = made(root / f"{part.index.folder.name}-sizes-{VERSION}", fill)
    return np.fromfile(folder / FILE, dtype=np.int64).reshape(-1, 2)


def _files(part: Part) -> Iterator[Path | bytes]:
    for row in range(len(part.index)):
        yield from map(partial(image_file, part), part.index.files(row))


def _size(file: Path | bytes) -> tuple[int, int]:
    try:
        return image_size(file)
    except UserError:
        return 1, 1
