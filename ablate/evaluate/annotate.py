"""The step `annotate`: what an annotator says or draws of every image of a data set, or of a suite.

It is done once for all candidates. Rows of `notes.jsonl` are written as they are found, so that a
step that was killed goes on behind the last; where processes share it, images are dealt to them.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from lmms_eval.tasks import get_task_dict

from ablate.annotators import Annotator, MapAnnotator, Observer, Pixels
from ablate.catalog import annotators, suites
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import parse, require, rows
from ablate.data.bad import reason
from ablate.data.conversations import conversation
from ablate.data.images import as_array, pixel_digest, read_image
from ablate.data.maps import packed
from ablate.data.notes import FILE, image_name
from ablate.data.prepare import files_of
from ablate.data.readers import Unreadable, reader
from ablate.errors import UserError
from ablate.evaluate.adapter import GREY
from ablate.evaluate.asked import Asked, asked_by
from ablate.evaluate.containment import contained
from ablate.files import whole_lines
from ablate.home import Home

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

TOGETHER, KEPT = 32, 65536
"""Images, or questions, that a process looks at before what it found is written; images of which it
remembers what it found, as questions of one task may be about images of another."""


class Shown(NamedTuple):
    """An image of a source, or the images of a question of a task: `group` and `of` as `set` and
    `of` in a row of notes, and how to open them."""

    group: str
    of: str
    open_images: Callable[[], list[Pixels]]


def annotate(ctx: "StepContext") -> dict[str, Any]:
    """Leave `notes.jsonl` in `ctx.work` (see `ablate.data.notes` and `maps`). UserError where data
    or weights are not as the study was planned with, or a benchmark's image cannot be read."""
    annotator = annotators.build(ctx.spec["annotator"])
    if dict(annotator.weights()) != ctx.spec["weights"]:
        raise UserError("the annotator's weights have changed since the study was planned")
    annotator.load(ctx.device)
    looks = Looks(annotator)
    if "suite" not in ctx.spec:
        count = rows(parse(ctx.spec["data"])) or 0
        return {"images": _write(ctx, looks, _of_data(ctx), count)}
    suite = suites.from_identity(ctx.spec["suite"])
    with contained(suite):
        with ctx.world.leader_first():
            asked = asked_by(ctx, suite)
        questions = _write(ctx, looks, _of_suite(suite, asked), suite.questions or 0)
    if ctx.world.leads:
        shutil.rmtree(asked.work)
        (ctx.work / "data.json").unlink(missing_ok=True)
    return {"questions": questions}


class Looks:
    """An annotator that is asked once about pixels it has seen, as several questions are about
    each image: it remembers what it found of the last `KEPT`.

    `field`: what a row of notes calls what it finds.
    """

    def __init__(self, annotator: Observer) -> None:
        self._annotator = annotator
        self._known: dict[bytes, Any] = {}
        self.field = "maps" if isinstance(annotator, MapAnnotator) else "texts"

    def of(self, shown: Sequence[Shown]) -> list[list[Any]]:
        """What it says or draws of each picture."""
        images = [each.open_images() for each in shown]
        digests = [[pixel_digest(image) for image in some] for some in images]
        by_digest = dict(zip(chain(*digests), chain(*images), strict=True))
        new = {name: image for name, image in by_digest.items() if name not in self._known}
        given = results(self._annotator, [*new.values()]) if new else []
        if len(given) != len(new):
            raise UserError(f"the annotator gives {len(given)} {self.field} of {len(new)} images")
        self._known |= dict(zip(new, given, strict=True))
        answers = [[self._known[digest] for digest in some] for some in digests]
        for name in [*self._known][: max(0, len(self._known) - KEPT)]:
            del self._known[name]
        return answers


def results(annotator: Observer, images: Sequence[Pixels]) -> list[Any]:
    """Of each image a text, or a map as JSON. UserError for a map that is none."""
    if isinstance(annotator, Annotator):
        return [text.strip() for text in annotator.annotate(images)]
    assert isinstance(annotator, MapAnnotator)
    maps = list(annotator.draw(images))
    for drawn in maps:
        if drawn.dtype != np.uint8 or drawn.ndim != 3 or len(drawn) != annotator.channels:
            raise UserError(
                f"the annotator draws {drawn.dtype} of {drawn.shape}, not uint8 of "
                f"{annotator.channels} channels on a grid"
            )
    return [packed(drawn, image) for drawn, image in zip(maps, images, strict=False)]


def _write(ctx: "StepContext", looks: Looks, shown: Iterator[Shown], count: int) -> int:
    """Annotate what is not annotated yet, which is all behind so many; how many rows there are."""
    file = ctx.work / FILE
    together = ctx.infra.get("micro_batch_size") or TOGETHER
    rank, size = ctx.world.rank, ctx.world.size
    done: int = ctx.world.agree(len(whole_lines(file)) if ctx.world.leads else None)
    new = islice(_once(shown), done, None)
    with file.open("a", encoding="utf-8") if ctx.world.leads else nullcontext() as notes:
        while chunk := list(islice(new, together * size)):
            gathered = ctx.world.gather(looks.of(chunk[rank::size]))
            done += len(chunk)
            if notes is None:
                continue
            for n, each in enumerate(chunk):
                result = gathered[n % size][n // size]
                row = {"set": each.group, "of": each.of, looks.field: result}
                notes.write(json.dumps(row) + "\n")
            notes.flush()
            ctx.progress(done, max(count, done), annotators.label(ctx.spec["annotator"]))
    return done


def _once(shown: Iterator[Shown]) -> Iterator[Shown]:
    """Each image that several rows have when it comes first."""
    seen: set[tuple[str, str]] = set()
    for each in shown:
        if (each.group, each.of) not in seen:
            seen.add((each.group, each.of))
            yield each


def _of_data(ctx: "StepContext") -> Iterator[Shown]:
    """The images of rows that can be read; what is wrong with others is told where they are
    learnt from."""
    source = parse(ctx.spec["data"])
    require([source])
    if fingerprint(source) != ctx.spec["data"]["fingerprint"]:
        raise UserError("the data has changed since the study was planned; start it anew")
    with ctx.world.leader_first():
        sources = files_of(source, Home(ctx.home).data)
    for name, files in sources.items():
        for _, raw in reader(files.conversations):
            try:
                if isinstance(raw, Unreadable):
                    continue
                images = conversation(raw, files.images).images
            except Exception:  # a row may raise anything
                continue
            for image in images:
                file = image if isinstance(image, bytes) else (files.images or Path()) / image
                yield Shown(name, image_name(image), partial(_readable, file))


def _readable(file: Path | bytes) -> list[Pixels]:
    """The image; none where it cannot be read."""
    try:
        return [read_image(file, None)]
    except UserError:
        return []


def _of_suite(suite: suites.Suite, asked: Asked) -> Iterator[Shown]:
    """The images of each question, by its number in the whole set of its task."""
    for task in suite.tasks:
        made = get_task_dict([task.task], asked.manager)[task.task]
        for number, doc in enumerate(made.eval_docs):
            opened = partial(_opened, f"{task.task}, question {number}", made, doc, suite.blank)
            yield Shown(task.task, str(number), opened)


def _opened(name: str, task: Any, doc: Any, blank: bool) -> list[Pixels]:
    try:
        images = [as_array(image, None) for image in task.doc_to_visual(doc)]
    except Exception as error:  # as `read_image`
        raise UserError(f"{name}: cannot be read as an image: {reason(error)}") from None
    return [np.full_like(image, GREY) for image in images] if blank else images
