"""A share of a task's questions, and the answers that it leaves for a larger share.

    <prefix>/<task>.<set>.json    {"<id>": "<answer as it was generated>"}

`prefix` is a folder of the evaluation whatever its share, so of the same weights and suite. What
has an answer there is not asked again; the scores are those of asking all. An evaluation of all
questions leaves none, and takes the folder away.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.files import read_checked, with_checksum, write_json

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


def answered(path: Path) -> dict[str, str]:
    """The answers that smaller shares have left in a file, by the id of their question."""
    answers: dict[str, str] = (read_checked(path) or {}).get("answers", {})
    return answers


def leave(path: Path, answers: Mapping[str, str]) -> None:
    """Put answers into a file beside those that are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, with_checksum({"answers": {**answered(path), **answers}}))
