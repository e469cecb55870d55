"""The step `explain`: where each expert of a trained candidate looks for some of its answers."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from ablate.catalog.step_kinds import EVALUATE
from ablate.data.conversations import IMAGE
from ablate.errors import UserError
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.attribution import attribute
from ablate.evaluate.dialogue import Pixels
from ablate.files import read_json, write_json
from ablate.home import Home
from ablate.store.answers import ANSWERS, rows_in
from ablate.store.explanations import EXPLAINED

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

SIDE = 192
"""Pixels of the longer side of a picture that is kept."""
DIGITS = 3
"""Of a contribution, significant ones."""


def explain(ctx: "StepContext") -> dict[str, Any]:
    """Explain the answers that the evaluation has; leaves `explained.json`.

    Answers without a word, or about several images, are left out. One process does all of it.
    UserError where the images of the evaluation are no files, or are gone.
    """
    if not ctx.world.leads:
        return {}
    evaluated = ctx.parents[EVALUATE]
    [trained] = (folder for role, folder in ctx.parents.items() if role != EVALUATE)
    images = _images(ctx.home, evaluated)
    rows = {(row["task"], row["id"]): row for row in rows_in(str(evaluated / ANSWERS))}
    subject = Answerer.load(trained)
    asked = [rows[task, name] for task, name in ctx.spec["questions"]]
    explained = []
    for number, row in enumerate(asked, start=1):
        if row["answer"] and IMAGE not in row["question"]:
            image = images / row["image"]
            pixels = subject.picture(image)
            behind = subject.note(image)
            maps = attribute(subject, row["question"], pixels, row["answer"], behind)
            kept = {name: row[name] for name in ("task", "id", "question", "answer")}
            explained.append(
                {
                    **kept,
                    "truth": str(row["truth"]),
                    "picture": base64.b64encode(_small(pixels)).decode(),
                    "maps": {title: _rounded(map_) for title, map_ in maps.items()},
                }
            )
        ctx.progress(number, len(asked))
    write_json(ctx.work / EXPLAINED, explained)
    return {"answers": len(explained)}


def _images(home: Path, evaluated: Path) -> Path:
    """The folder of the images that were asked about."""
    note = evaluated / "data.json"
    if not note.is_file():
        raise UserError("the images of this suite are no files of their own: none is explained")
    return Home(home).data / str(read_json(note)["folder"])


def _rounded(map_: Tensor) -> list[list[float]]:
    return [[float(f"{value:.{DIGITS}g}") for value in row] for row in map_.tolist()]


def _small(pixels: Pixels) -> bytes:
    """The colours of a picture (3+K,H,W) as WebP."""
    image = Image.fromarray(pixels[:3].transpose(1, 2, 0))
    image.thumbnail((SIDE, SIDE))
    written = io.BytesIO()
    image.save(written, "WEBP", quality=82)
    return written.getvalue()
