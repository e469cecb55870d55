"""A share of a task's questions."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def nested(questions: Sequence[Row], share: float) -> list[int]:
    """The places of a share of the questions, ascending: at least as many as it says, and one.

    Images are taken with all their questions (in this task), in the order of the hash of their
    names, until there are enough. So the images of a smaller share are among those of a larger one,
    the same for every candidate and seed, and tasks about the same images share most of them.
    """
    of_image = defaultdict(list)
    for index, row in enumerate(questions):
        of_image[row["image"]].append(index)
    wanted = max(1, math.ceil(share * len(questions) - 1e-9))
    chosen: list[int] = []
    for image in sorted(of_image, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(chosen) >= wanted:
            break
        chosen += of_image[image]
    return sorted(chosen)
