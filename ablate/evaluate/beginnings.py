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
    """The different `starts` by what tells them apart, and of every prompt the key of the start it
    has and the rest behind that."""

    starts: dict[bytes, Start]
    keys: list[bytes]
    rests: list[Ids]


def in_two(prompts: Sequence[Ids], images: Sequence[Sequence[bytes]]) -> InTwo | None:
    """The prompts in two, whose images are told by their digests; None where one ends with an
    image."""
    ends = [_end_of_images(prompt) for prompt in prompts]
    parts = InTwo({}, [], [prompt[end:] for prompt, end in zip(prompts, ends, strict=True)])
    for prompt, end, some in zip(prompts, ends, images, strict=True):
        key = prompt[:end].tobytes() + b"".join(some)
        parts.starts[key] = Start(prompt[:end], some)
        parts.keys.append(key)
    return parts if all(map(len, parts.rests)) else None


def _end_of_images(prompt: Ids) -> int:
    """How many tokens there are up to the last image and with it; one without images."""
    return max(1, int(np.flatnonzero(prompt == IMAGE_TOKEN_ID).max(initial=0)) + 1)
