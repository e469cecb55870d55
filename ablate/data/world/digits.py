"""Real handwritten digits (scikit-learn's copy of UCI optdigits), split by writer sample."""

from functools import cache
from random import Random

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HELD_OUT = 5  # every fifth digit image is seen in tests only


@cache
def digit_indices(held_out: bool) -> dict[str, list[int]]:
    """Digit word -> the indices of its images in that part; the two parts are disjoint."""
    targets = load_digits().target
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
    values = np.clip(load_digits().images[:, :, 1:7] * 17, 0, 255).astype(np.uint8)
    return [Image.fromarray(image) for image in values]
