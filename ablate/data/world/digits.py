"""Real handwritten digits (scikit-learn's copy of UCI optdigits), split by writer sample."""

import gzip
from functools import cache
from importlib.metadata import distribution
from random import Random
from typing import Any

import numpy as np
from PIL import Image

HELD_OUT = 5  # every fifth digit image is seen in tests only


@cache
def digit_indices(held_out: bool) -> dict[str, list[int]]:
    """Digit word -> the indices of its images in that part; the two parts are disjoint."""
    targets = _rows()[:, -1]
    chosen = [index for index in range(len(targets)) if (index % HELD_OUT == 0) == held_out]
    return {
        str(digit): [index for index in chosen if targets[index] == digit] for digit in range(10)
    }


def draw_digit(word: str, size: tuple[int, int], rng: Random, held_out: bool) -> Image.Image:
    """A handwritten `word` of the wanted part as an ink mask (mode L, 255 = ink)."""
    return _inks()[rng.choice(digit_indices(held_out)[word])].resize(
        size, Image.Resampling.BILINEAR
    )


@cache
def _inks() -> list[Image.Image]:
    """All 1797 digits without the outer columns, which seldom hold ink."""
    images = _rows()[:, :-1].reshape(-1, 8, 8)
    values = np.clip(images[:, :, 1:7] * 17, 0, 255).astype(np.uint8)
    return [Image.fromarray(image) for image in values]


@cache
def _rows() -> np.ndarray[Any, np.dtype[np.int64]]:
    """What `sklearn.datasets.load_digits` reads, without the second that its import takes.

    A row a digit: its 8x8 pixels, each of 0 to 16, and which digit it is.
    """
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    with gzip.open(str(file), "rt") as text:
        return np.loadtxt(text, delimiter=",", dtype=np.int64)
