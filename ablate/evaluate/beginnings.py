"""Prompts in two: what several of them begin with, up to their last image, and what follows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ablate.data.batch import IMAGE_TOKEN_ID

Ids = npt.NDArray[np.int32]


class Start(NamedTuple):
    """What a prompt begins with, and the digests of the images there."""

    prompt: Ids
    images: Sequence[bytes]


class InTwo(NamedTuple):
    """The different `starts`, and of every prompt the number of the start it has and the rest
    behind that."""

    starts: list[Start]
    of: list[int]
    rests: list[Ids]


def in_two(prompts: Sequence[Ids], images: Sequence[Sequence[bytes]]) -> InTwo | None:
    """The prompts in two, whose images are told by their digests; None where one ends with an
    image, or no two begin alike."""
    parts, numbers = InTwo([], [], []), dict[bytes, int]()
    for prompt, some in zip(prompts, images, strict=True):
        end = _end_of_images(prompt)
        number = numbers.setdefault(prompt[:end].tobytes() + b"".join(some), len(parts.starts))
        if number == len(parts.starts):
            parts.starts.append(Start(prompt[:end], some))
        parts.of.append(number)
        parts.rests.append(prompt[end:])
    return parts if len(parts.starts) < len(prompts) and all(map(len, parts.rests)) else None


def _end_of_images(prompt: Ids) -> int:
    """How many tokens there are up to the last image and with it; one without images."""
    [places] = (prompt == IMAGE_TOKEN_ID).nonzero()
    return int(places[-1]) + 1 if len(places) else 1
