"""Gromov-Wasserstein distance between how images differ and how their texts do.

Memoli 2011; by conditional gradients (Vayer et al. 2019, arXiv 1805.09114, algorithm 1), which
with equal weights go from one assignment towards another. They start where each image is with its
own text, so it asks how much nearer to each other the two can be brought by pairing them otherwise:
it ends in a local minimum, as all do.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from ablate.proxies._interface import Evidence, Floats, Proxy, joined

STEPS = 50


class GromovWasserstein(Proxy):
    """Minus the distance between the cosine distances of both, each divided by their mean."""

    title = "Gromov-Wasserstein"
    short = "GW"

    def score(self, known: Evidence) -> float:
        a, b = (_distances(features) for features in (joined(known.views), known.text))
        return -float(np.sqrt(max(gromov_wasserstein(a, b), 0.0)))


def gromov_wasserstein(a: Floats, b: Floats) -> float:
    """The squared distance between two (N,N) matrices of distances, all points of equal weight."""
    n = len(a)
    plan = np.eye(n) / n
    constant = ((a**2).mean() + (b**2).mean()).item()
    moved = a @ plan @ b
    for _ in range(STEPS):
        rows, columns = linear_sum_assignment(-moved)
        towards = -plan
        towards[rows, columns] += 1.0 / n
        moved_towards = a @ towards @ b
        linear = -2.0 * (moved * towards).sum() * 2.0
        square = -2.0 * (moved_towards * towards).sum()
        if linear > -1e-12:
            break
        step = 1.0 if square <= 0 else min(1.0, -linear / (2.0 * square))
        plan, moved = plan + step * towards, moved + step * moved_towards
    return float(constant - 2.0 * (moved * plan).sum())


def _distances(x: Floats) -> Floats:
    centred = x - x.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(min=1e-12)
    distances: Floats = 1.0 - unit @ unit.T
    distances /= distances.mean()
    return distances
