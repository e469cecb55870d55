"""Centered kernel alignment of what the images and their texts are like among themselves.

Kornblith et al. 2019 (arXiv 1905.00414), without its bias from few images (Song et al. 2012,
"Feature Selection via Dependence Maximization", equation 5). Mordal (ICLR 2026) forms clusters of
encoders by it.
"""

import numpy as np

from ablate.proxies._interface import Evidence, Floats, Proxy, joined


class Cka(Proxy):
    """Of the mixture's features and the language model's, at most 1; 0 if they have nothing in
    common."""

    title = "CKA with the text"
    short = "CKA"

    def score(self, known: Evidence) -> float:
        return cka(joined(known.views), known.text)


def cka(x: Floats, y: Floats) -> float:
    """Linear CKA of (N,C) and (N,D), unbiased; N is 4 or more."""
    a, b = (_kernel(features) for features in (x, y))
    norm = np.sqrt(_hsic(a, a) * _hsic(b, b))
    return float(_hsic(a, b) / norm) if norm > 0 else 0.0


def _kernel(x: Floats) -> Floats:
    centred = x - x.mean(0)
    kernel: Floats = centred @ centred.T
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _hsic(a: Floats, b: Floats) -> float:
    """The unbiased estimate, of kernels whose diagonals are 0."""
    n = len(a)
    rows = a.sum(0) @ b.sum(0)
    whole = a.sum() * b.sum() / ((n - 1) * (n - 2))
    return float(((a * b).sum() + whole - 2.0 * rows / (n - 2)) / (n * (n - 3)))
