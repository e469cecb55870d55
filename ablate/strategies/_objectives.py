"""What a search by Optuna weighs: the score, a part of it, or what a candidate takes."""

import zlib
from collections.abc import Iterable, Sequence

from ablate.strategies import Outcome

COSTS = ("gpu_hours", "visual_tokens", "parameters")
"""What a candidate takes, as `ablate plan` estimates it."""


def means(runs: Sequence[Outcome], objectives: Iterable[str]) -> tuple[float, ...]:
    """The objectives of a trial: `score`, a task of the suite, or one of `COSTS`, each the mean
    over its seeds."""
    return tuple(sum(_read(outcome, name) for outcome in runs) / len(runs) for name in objectives)


def points_by_image(runs: Iterable[Outcome]) -> dict[int, float]:
    """The mean points of each image's questions; an image by a checksum of its name."""
    points: dict[int, list[float]] = {}
    for outcome in runs:
        for row in outcome.result.rows() if outcome.result else ():
            image = zlib.crc32(str(row["image"]).encode()) & 0x7FFFFFFF
            points.setdefault(image, []).append(100.0 * row["score"])
    return {image: sum(each) / len(each) for image, each in sorted(points.items())}


def _read(outcome: Outcome, objective: str) -> float:
    assert outcome.result is not None
    if objective == "score":
        return outcome.result.composite
    if objective in COSTS:
        assert outcome.cost is not None
        return outcome.cost(objective)
    return outcome.result.scores[objective]
