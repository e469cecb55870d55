"""The face a trained candidate shows to lmms-eval: questions in, greedy answers out.

Shapes: L visual tokens of an image, D model width, H W pixels.
"""

import dataclasses
import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmms_eval.api.task  # noqa: F401
import numpy as np
import numpy.typing as npt
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from PIL import Image, ImageFile
from torch import Tensor

from ablate.config.infra import QUESTIONS
from ablate.data.bad import reason
from ablate.data.batch import Batch
from ablate.data.chat import Chat
from ablate.data.collate import collate, cut_images
from ablate.data.conversations import IMAGE
from ablate.data.dataset import Sample
from ablate.data.images import as_array, upright_size
from ablate.errors import UserError
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.recent import RecentTensors
from ablate.worker.process_group import StepRanks

# The import of lmms-eval's tasks makes PIL fill up broken images in silence, process-wide.
ImageFile.LOAD_TRUNCATED_IMAGES = False

GREY = 127
"""What every pixel of a blanked image is: the middle of the range."""
KEPT = 2**31
"""Bytes of visual tokens kept in main memory, as several questions are asked of each image."""
MAX_NEW_TOKENS = 1024
"""Where a task sets no limit (as lmms-eval's own LLaVA); the end of the turn stops it sooner."""


class Ask(NamedTuple):
    """One question: its place among the requests, its name, text, and how to open its images."""

    place: int
    name: str
    text: str
    open_images: Callable[[], list[Image.Image]]


class Picture(NamedTuple):
    """An image as its task opened it; its file, if it has one, and what errors call it."""

    image: Image.Image
    file: str
    name: str


class NothingToScoreError(Exception):
    """Ends lmms-eval in a process whose answers are with the leader of its step, which scores."""


class AblateLMM(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """lmms-eval's model `ablate`.

    A question that leaves no room in the language model's context (several images at once) is left
    unanswered, and the longest of a batch bounds how long its answers may get. An image goes
    through the encoders once for all questions and tasks that show it, as long as its visual tokens
    are among the last `KEPT` bytes; where the model `sees_each_question`, once for each question.
    On a GPU it computes in bfloat16, as it was trained.

    `pretrained`: the folder of a finished step of training, or an `Answerer`. `blank`: show mean
    grey instead of every image. `device`: default the GPU if there is one. `world`: the processes
    that share the batches, which are those of one; the leader alone gets answers. `watch` is called
    after each batch with the number of questions answered. `known` has answers by task and number
    of the question in it, which is not asked then; `said` has all the last answers, in the leader.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | Answerer,
        batch_size: int | str = "auto",
        device: str | None = None,
        blank: bool = False,
        watch: Callable[[int], None] | None = None,
        world: StepRanks | None = None,
    ) -> None:
        super().__init__()
        answerer = Answerer.load(Path(pretrained)) if isinstance(pretrained, str) else pretrained
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = answerer.model.to(self.device).eval()
        self.tokenizer = answerer.tokenizer
        self.name = answerer.name
        self.tiles = self.model.tiles
        self.canvas = answerer.own_canvas
        self.padding = answerer.padding
        self.batch_size = QUESTIONS if batch_size == "auto" else int(batch_size)
        self.blank = blank
        self.watch = watch
        self.known: Mapping[tuple[str, int], str] = {}
        self.said: Mapping[tuple[str, int], str] = {}
        self.world = world or StepRanks()
        half = self.device.type == "cuda"
        self._precision = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        self._chat = Chat(self.tokenizer)
        self._stop_ids = self._chat.stop_ids
        self._seen = RecentTensors(KEPT)  # of images, by the digest of the pixels
        self._digests: dict[str, bytes] = {}  # by file, so that none need be decoded to know it

    def __str__(self) -> str:
        """What lmms-eval's response cache tells models apart by."""
        return f"ablate:{self.name}" + (":blank" if self.blank else "")

    def clean(self) -> None:
        """Nothing: lmms-eval's own would delete the model after the first task."""

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answer to each request, in their order; greedy, in batches of similar length."""
        own: list[tuple[int, str]] = []
        names = [name_of(request) for request in requests]
        new = [place for place, name in enumerate(names) if name not in self.known]
        done = 0
        for number, (options, asks) in enumerate(self._batches([requests[n] for n in new])):
            if number % self.world.size == self.world.rank:
                answers = self._answer(asks, options)
                own += zip([ask.place for ask in asks], answers, strict=True)
            done += len(asks)
            if self.watch:
                self.watch(done)
        dealt = self.world.gather(own)
        if not self.world.leads:
            raise NothingToScoreError
        given = {new[place]: answer for some in dealt for place, answer in some}
        said = [given[n] if n in given else self.known[name] for n, name in enumerate(names)]
        self.said = dict(zip(names, said, strict=True))
        return said

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered: broken in lmms-eval 0.7.3 for every model, and no task of ours needs it."""
        raise UserError("ablate answers by generating: choose a generate_until variant of the task")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered: a conversation of several rounds is not what is studied here."""
        raise UserError("ablate answers single questions: multi-round tasks are not offered")

    def _batches(self, requests: Sequence[Instance]) -> Iterator[tuple[dict[str, Any], list[Ask]]]:
        """Questions that share their generation options, sorted by tokens so as to pad little."""
        if not requests:  # all of them are known
            return
        plain = [[{"role": "user", "content": request.args[0]}] for request in requests]
        lengths = [len(ids) for ids in self._chat.prompts(plain)]
        if not self.tiles.tiling.fixed:  # else the images of all are alike
            for index, request in enumerate(requests):
                lengths[index] += self._visual(self._open(self._ask(index, request)))
        alike: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            alike[repr(sorted(request.args[1].items()))].append(index)
        for indices in alike.values():
            indices.sort(key=lambda index: (lengths[index], index))
            for start in range(0, len(indices), self.batch_size):
                chosen = indices[start : start + self.batch_size]
                asks = [self._ask(index, requests[index]) for index in chosen]
                yield requests[chosen[0]].args[1], asks

    def _ask(self, index: int, request: Instance) -> Ask:
        text, _, doc_to_visual, doc_id, task, split = request.args
        return Ask(
            index,
            f"{task}, question {doc_id}",
            text,
            lambda: doc_to_visual(self.task_dict[task][split][doc_id]),
        )

    @torch.inference_mode()
    def _answer(self, asks: Sequence[Ask], options: dict[str, Any]) -> list[str]:
        if options.get("do_sample") or options.get("num_beams", 1) != 1:
            raise UserError(f"ablate answers greedily, but the task asks for {options}")
        shown = [self._open(ask) for ask in asks]
        prompts, answers = self._prompts(asks, shown), [""] * len(asks)
        rooms = {
            place: self._room(len(prompts[place]), pictures) for place, pictures in enumerate(shown)
        }
        for place in [place for place, room in rooms.items() if room <= 0]:
            short = 1 - rooms.pop(place)
            print(f"{asks[place].name}: left unanswered, {short} tokens too long", file=sys.stderr)
        if rooms:
            pictures = [one for place in rooms for one in shown[place]]
            anew = self.model.sees_each_question
            batch = self._batch(
                [prompts[place] for place in rooms],
                [len(shown[place]) for place in rooms],
                [self._pixels(one) for one in pictures] if anew else [],
            )
            with self._precision:
                ids = self.model.generate(
                    batch.to(self.device),
                    max_new_tokens=min(
                        options.get("max_new_tokens", MAX_NEW_TOKENS), *rooms.values()
                    ),
                    stop_ids=self._stop_ids,
                    visual=None if anew else self._see(pictures),
                )
            until = options.get("until") or []
            stops = [until] if isinstance(until, str) else until
            for place, text in zip(rooms, self.tokenizer.batch_decode(ids, True), strict=True):
                answers[place] = _cut(text, stops)
        return answers

    def _room(self, tokens: int, pictures: Sequence[Picture]) -> int:
        """Tokens left in the language model's context for an answer to a prompt."""
        seen = self._visual(pictures) - len(pictures)
        return self.model.spec.llm.context - tokens - seen

    def _visual(self, pictures: Sequence[Picture]) -> int:
        """How many tokens pictures become; of their sizes only where it depends on these."""
        if self.tiles.tiling.fixed:
            return self.tiles.most * len(pictures)
        total = 0
        for picture in pictures:
            with _readable(picture.name):
                total += self.tiles.count(upright_size(picture.image))
        return total

    def _prompts(
        self, asks: Sequence[Ask], shown: Sequence[Sequence[Picture]]
    ) -> list[npt.NDArray[np.int32]]:
        """Each question as a conversation of which the answer is still to come."""
        return self._chat.prompts(
            [
                [{"role": "user", "content": _with_images(ask.text, len(pictures))}]
                for ask, pictures in zip(asks, shown, strict=True)
            ]
        )

    def _open(self, ask: Ask) -> list[Picture]:
        """The images of a question, not decoded where their task does not."""
        with _readable(ask.name):
            images = ask.open_images()
        files = [str(getattr(image, "filename", "")) for image in images]
        return [
            Picture(image, file, file or ask.name)
            for image, file in zip(images, files, strict=True)
        ]

    def _batch(
        self,
        prompts: Sequence[npt.NDArray[np.int32]],
        images: Sequence[int],
        pixels: Sequence[npt.NDArray[np.uint8]],
    ) -> Batch:
        """The prompts, of so many images each, with their pixels or none."""
        batch = collate([Sample(ids, np.zeros(len(ids), dtype=np.bool_), []) for ids in prompts])
        rows = torch.arange(len(prompts)).repeat_interleave(torch.tensor(images))
        seen, sizes = cut_images(pixels, self.tiles)
        return dataclasses.replace(batch, image_rows=rows, pixels=seen, sizes=sizes)

    def _see(self, pictures: Sequence[Picture]) -> list[Tensor] | None:
        """(L,D) of each."""
        if not pictures:
            return None
        digests, tokens = self._of_images(pictures, self._look)
        held = [tokens[digest] for digest in digests]
        return [*torch.split(torch.cat(held).to(self.device), [len(one) for one in held])]

    def _of_images(
        self,
        pictures: Sequence[Picture],
        look: Callable[[Sequence[npt.NDArray[np.uint8]]], Sequence[Tensor]],
    ) -> tuple[list[bytes], dict[bytes, Tensor]]:
        """The digest of each image, and by these what `look` makes of each; only images that are
        not known are decoded and looked at."""
        digests: list[bytes] = []
        new: dict[bytes, npt.NDArray[np.uint8]] = {}
        for picture in pictures:
            digest = self._digests.get(picture.file)
            if digest is None or (digest not in new and digest not in self._seen):
                pixels = self._pixels(picture)
                digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
                if picture.file:
                    self._digests[picture.file] = digest
                if digest not in self._seen:
                    new[digest] = pixels
            digests.append(digest)
        found = {digest: self._seen[digest] for digest in digests if digest not in new}
        if new:
            for digest, one in zip(new, look(list(new.values())), strict=True):
                self._seen[digest] = found[digest] = one.to("cpu", copy=True)
        return digests, found

    def _look(self, images: Sequence[npt.NDArray[np.uint8]]) -> Sequence[Tensor]:
        """The visual tokens (L,D) of each image (3,H,W)."""
        seen, sizes = cut_images(images, self.tiles)
        return self.model.see(seen.to(self.device), sizes)

    def _pixels(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """(3,H,W)."""
        with _readable(picture.name):
            pixels = as_array(picture.image, self.canvas, self.padding)
        return np.full_like(pixels, GREY) if self.blank else pixels


def name_of(request: Instance) -> tuple[str, int]:
    """The task of a question and its number there."""
    _, _, _, doc_id, task, _ = request.args
    return task, doc_id


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # as `read_image`
        raise UserError(f"{what}: cannot be read as an image: {reason(error)}") from None


def _with_images(text: str, count: int) -> str:
    """The question below its images, as LLaVA's conversations have them."""
    text = text if IMAGE in text else f"{IMAGE}\n" * count + text
    if text.count(IMAGE) != count:
        raise UserError(f"a question names {text.count(IMAGE)} images but shows {count}: {text!r}")
    return text


def _cut(text: str, stops: Sequence[str]) -> str:
    """The answer before the first of the stop texts, bare of white space around it."""
    text = text.strip()
    for stop in stops:
        text = text.split(stop)[0]
    return text.strip()
