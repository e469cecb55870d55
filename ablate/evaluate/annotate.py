"""The step `annotate`: what an annotator says of every image of a data set, or of a suite.

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

from ablate.annotators import Annotator, Pixels
from ablate.catalog import annotators, suites
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import parse, require, rows
from ablate.data.bad import reason
from ablate.data.conversations import conversation
from ablate.data.images import as_array, pixel_digest, read_image
from ablate.data.notes import FILE, image_name
from ablate.data.prepare import files_of
from ablate.data.readers import Unreadable, reader
from ablate.errors import UserError
from ablate.evaluate.adapter import GREY
from ablate.evaluate.score import Asked, asked_by, contained
from ablate.files import whole_lines
from ablate.home import Home

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

TOGETHER, KEPT = 32, 65536
"""Images, or questions, that a process looks at before what it found is written; texts of images
that it remembers, as questions of one task may be about images of another."""


class Shown(NamedTuple):
    """An image of a source, or the images of a question of a task: `group` and `of` as `set` and
    `of` in a row of notes, and how to open them."""

    group: str
    of: str
    open_images: Callable[[], list[Pixels]]


def annotate(ctx: "StepContext") -> dict[str, Any]:
    """Leave `notes.jsonl` in `ctx.work` (see `ablate.data.notes`). UserError where data or weights
    are not as the study was planned with, or a benchmark's image cannot be read."""
    annotator = annotators.build(ctx.spec["annotator"])
    if dict(annotator.weights()) != ctx.spec["weights"]:
        raise UserError("the annotator's weights have changed since the study was planned")
    annotator.load(ctx.device)
    speaker = Speaker(annotator)
    if "suite" not in ctx.spec:
        count = rows(parse(ctx.spec["data"])) or 0
        return {"images": _write(ctx, speaker, _of_data(ctx), count)}
    suite = suites.from_identity(ctx.spec["suite"])
    with contained(suite):
        with ctx.world.leader_first():
            asked = asked_by(ctx, suite)
        questions = _write(ctx, speaker, _of_suite(suite, asked), suite.questions or 0)
    if ctx.world.leads:
        shutil.rmtree(asked.work)
        (ctx.work / "data.json").unlink(missing_ok=True)
    return {"questions": questions}


class Speaker:
    """An annotator that is asked once about pixels it has seen, as several questions are about
    each image: it remembers the last `KEPT` texts."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._texts: dict[bytes, str] = {}

    def texts(self, shown: Sequence[Shown]) -> list[list[str]]:
        """What it says of each picture."""
        images = [each.open_images() for each in shown]
        digests = [[pixel_digest(image) for image in some] for some in images]
        by_digest = dict(zip(chain(*digests), chain(*images), strict=True))
        new = {name: image for name, image in by_digest.items() if name not in self._texts}
        texts = list(self._annotator.annotate(list(new.values()))) if new else []
        if len(texts) != len(new):
            raise UserError(f"the annotator says {len(texts)} texts of {len(new)} images")
        self._texts |= dict(zip(new, (text.strip() for text in texts), strict=True))
        answers = [[self._texts[digest] for digest in some] for some in digests]
        for name in [*self._texts][: max(0, len(self._texts) - KEPT)]:
            del self._texts[name]
        return answers


def _write(ctx: "StepContext", speaker: Speaker, shown: Iterator[Shown], count: int) -> int:
    """Annotate what is not annotated yet, which is all behind so many; how many rows there are."""
    file = ctx.work / FILE
    together = ctx.infra.get("micro_batch_size") or TOGETHER
    rank, size = ctx.world.rank, ctx.world.size
    done: int = ctx.world.agree(len(whole_lines(file)) if ctx.world.leads else None)
    new = islice(_once(shown), done, None)
    with file.open("a", encoding="utf-8") if ctx.world.leads else nullcontext() as notes:
        while chunk := list(islice(new, together * size)):
            gathered = ctx.world.gather(speaker.texts(chunk[rank::size]))
            done += len(chunk)
            if notes is None:
                continue
            for n, each in enumerate(chunk):
                row = {"set": each.group, "of": each.of, "texts": gathered[n % size][n // size]}
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
