"""Prompts in two: what several of them begin with, up to their last image, and what follows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ablate.data.batch import IMAGE_TOKEN_ID

Ids = npt.NDArray[np.int32]


class InTwo(NamedTuple):
    """The different `beginnings`, each with its `images`, and of every prompt the `rows` of the
    beginning it has and the `rests` behind that."""

    beginnings: list[Ids]
    images: list[Sequence[bytes]]
    rows: list[int]
    rests: list[Ids]


def in_two(prompts: Sequence[Ids], images: Sequence[Sequence[bytes]]) -> InTwo | None:
    """The prompts in two, whose images are told by their digests; None where that saves nothing."""
    ends = [_end_of_images(prompt) for prompt in prompts]
    row_of: dict[tuple[bytes, ...], int] = {}
    beginnings: list[Ids] = []
    held: list[Sequence[bytes]] = []
    rows: list[int] = []
    for prompt, end, some in zip(prompts, ends, images, strict=True):
        row = row_of.setdefault((prompt[:end].tobytes(), *some), len(row_of))
        if row == len(beginnings):
            beginnings.append(prompt[:end])
            held.append(some)
        rows.append(row)
    rests = [prompt[end:] for prompt, end in zip(prompts, ends, strict=True)]
    if len(beginnings) == len(prompts) or not all(map(len, rests)):
        return None
    return InTwo(beginnings, held, rows, rests)


def _end_of_images(prompt: Ids) -> int:
    """How many tokens there are up to the last image and with it; one without images."""
    return max(1, int(np.flatnonzero(prompt == IMAGE_TOKEN_ID).max(initial=0)) + 1)
