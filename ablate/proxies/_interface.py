"""What a proxy is given, and what it gives.

Shapes: N images with a text each, M of them seen in mirror image, too; C channels, H W grid,
D width of the language model, V words.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """What one frozen encoder makes of the images: `pooled` (N,C), the mean over its map; `grid`
    (M,H,W,C) and `mirrored`, the map of an image and of its mirror image, left for right."""

    pooled: Floats
    grid: Floats
    mirrored: Floats


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate.

    `views`: of its encoders, the base first; `text` (N,D): what the frozen language model makes of
    the images' texts; `words` (N,V): which words are in them; `losses`: those of its last stage,
    step by step, where it was trained; `smaller`: its score in a study of a smaller language model,
    where there is one.
    """

    views: Sequence[View]
    text: Floats
    words: NDArray[np.bool_]
    losses: Sequence[float] = field(default=())
    smaller: float | None = None


class Proxy(ABC):
    """One number of a candidate, the higher the better.

    `title` is what it is called, `short` the head of its column.
    """

    title: ClassVar[str]
    short: ClassVar[str]
    of_features: ClassVar[bool] = True
    """Whether it is known before anything is trained."""

    @abstractmethod
    def score(self, known: Evidence) -> float | None:
        """The number; None where what it needs is not known."""


def joined(views: Sequence[View]) -> Floats:
    """(N, sum of C): pooled features of a mixture side by side, each channel with mean 0 and
    variance 1, each encoder as heavy as any other."""
    parts = [_standard(view.pooled) / np.sqrt(view.pooled.shape[1]) for view in views]
    return np.concatenate(parts, axis=1)


def _standard(x: Floats) -> Floats:
    centred: Floats = x - x.mean(0)
    spread = centred.std(0)
    scaled: Floats = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)
    return scaled


RIDGES = 10.0 ** np.arange(-4.0, 3.0)
"""Strengths of ridge regression that are tried, as shares of the mean eigenvalue."""


def left_out(x: Floats, y: Floats) -> Floats:
    """(N,K): each row of `y` (N,K) as ridge regression on all other rows of `x` predicts it, less
    the mean of those rows, which is the better the worse the row is: by chance it would be told.

    In closed form, of the strength whose predictions are the nearest (Golub, Heath and Wahba 1979).
    """
    kernel, centred = x @ x.T, y - y.mean(0)
    values, vectors = np.linalg.eigh(kernel)
    values = values.clip(min=0.0)
    turned = vectors.T @ centred
    best: Floats = np.zeros_like(centred)
    nearest = np.inf
    for ridge in RIDGES * max(values.mean(), 1e-12):
        shares = values / (values + ridge)
        leverage = (vectors**2 * shares).sum(1) + 1.0 / len(x)  # of the mean, too
        fitted = vectors @ (shares[:, None] * turned)
        residual = (centred - fitted) / (1.0 - leverage).clip(min=1e-9)[:, None]
        if (error := float((residual**2).mean())) < nearest:
            best, nearest = centred - residual, error
    rest: Floats = best + centred / (len(x) - 1)
    return rest
