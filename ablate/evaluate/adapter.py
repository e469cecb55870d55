"""The face a trained candidate shows to lmms-eval: questions in, greedy answers out.

Shapes: H W pixels.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lmms_eval.api.task  # noqa: F401
import numpy as np
import numpy.typing as npt
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from PIL import Image, ImageFile
from transformers import PreTrainedTokenizerBase

from ablate.catalog.data_sources import MEAN_COLOUR, parse
from ablate.config.infra import QUESTIONS
from ablate.data.bad import reason
from ablate.data.chat import Chat
from ablate.data.collate import collate
from ablate.data.conversations import IMAGE
from ablate.data.dataset import Sample
from ablate.data.images import Colour, as_array
from ablate.errors import UserError
from ablate.files import read_json
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm
from ablate.train.restore import load_trained
from ablate.worker.process_group import StepRanks

# The import of lmms-eval's tasks makes PIL fill up broken images in silence, process-wide.
ImageFile.LOAD_TRUNCATED_IMAGES = False

GREY = 127
"""What every pixel of a blanked image is: the middle of the range."""
KEPT = 2**28
"""Bytes of decoded images kept, as several questions are asked of each."""
MAX_NEW_TOKENS = 1024
"""Where a task sets no limit (as lmms-eval's own LLaVA); the end of the turn stops it sooner."""


@dataclass(frozen=True)
class Answerer:
    """A model and the tokenizer it speaks through; `name` tells its weights from all others.

    `canvas`, `padding`: how images are brought to one size, as in training (`as_array`).
    """

    model: Mllm
    tokenizer: PreTrainedTokenizerBase
    name: str
    canvas: int | None = None
    padding: Colour = MEAN_COLOUR

    @classmethod
    def load(cls, folder: Path) -> "Answerer":
        """The candidate that the finetune step in `folder` left."""
        if not (folder / "spec.json").is_file():
            raise UserError(f"no trained candidate in {folder}: it holds no spec.json")
        model = load_trained(folder)
        learnt_from = parse(read_json(folder / "spec.json")["spec"]["data"])
        return cls(
            model,
            load_tokenizer(model.spec.llm),
            folder.resolve().name,
            learnt_from.canvas,
            learnt_from.padding,
        )


class _Ask(NamedTuple):
    """One question: its place among the requests, its name, text, and how to open its images."""

    place: int
    name: str
    text: str
    open_images: Callable[[], list[Image.Image]]


class NothingToScoreError(Exception):
    """Ends lmms-eval in a process whose answers are with the leader of its step, which scores."""


class AblateLMM(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """lmms-eval's model `ablate`.

    A question that leaves no room in the language model's context (several images at once) is left
    unanswered, and the longest of a batch bounds how long its answers may get. On a GPU it computes
    in bfloat16, as it was trained.

    `pretrained`: the folder of a finished finetune step, or an `Answerer`. `blank`: show mean grey
    instead of every image. `device`: default the GPU if there is one. `world`: the processes that
    share the batches, which are those of one; the leader alone gets answers. `watch` is called
    after each batch with the number of questions answered.
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
        self.canvas, self.padding = answerer.canvas, answerer.padding
        self.batch_size = QUESTIONS if batch_size == "auto" else int(batch_size)
        self.blank = blank
        self.watch = watch
        self.world = world or StepRanks()
        half = self.device.type == "cuda"
        self._precision = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        self._chat = Chat(self.tokenizer)
        self._stop_ids = _ends_of_turn(self._chat, self.tokenizer)
        self._decoded: dict[str, npt.NDArray[np.uint8]] = {}

    def __str__(self) -> str:
        """What lmms-eval's response cache tells models apart by."""
        return f"ablate:{self.name}" + (":blank" if self.blank else "")

    def clean(self) -> None:
        """Nothing: lmms-eval's own would delete the model after the first task."""

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answer to each request, in their order; greedy, in batches of similar length."""
        own: list[tuple[int, str]] = []
        done = 0
        for number, (options, asks) in enumerate(self._batches(requests)):
            if number % self.world.size == self.world.rank:
                answers = self._answer(asks, options)
                own += zip([ask.place for ask in asks], answers, strict=True)
            done += len(asks)
            if self.watch:
                self.watch(done)
        dealt = self.world.gather(own)
        if not self.world.leads:
            raise NothingToScoreError
        given = {place: answer for some in dealt for place, answer in some}
        return [given[place] for place in range(len(requests))]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered: broken in lmms-eval 0.7.3 for every model, and no task of ours needs it."""
        raise UserError("ablate answers by generating: choose a generate_until variant of the task")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered: a conversation of several rounds is not what is studied here."""
        raise UserError("ablate answers single questions: multi-round tasks are not offered")

    def _batches(self, requests: Sequence[Instance]) -> Iterator[tuple[dict[str, Any], list[_Ask]]]:
        """Questions that share their generation options, sorted by tokens so as to pad little."""
        plain = [[{"role": "user", "content": request.args[0]}] for request in requests]
        lengths = [len(ids) for ids in self._chat.prompts(plain)]
        alike: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            alike[repr(sorted(request.args[1].items()))].append(index)
        for indices in alike.values():
            indices.sort(key=lambda index: (lengths[index], index))
            for start in range(0, len(indices), self.batch_size):
                chosen = indices[start : start + self.batch_size]
                asks = [self._ask(index, requests[index]) for index in chosen]
                yield requests[chosen[0]].args[1], asks

    def _ask(self, index: int, request: Instance) -> _Ask:
        text, _, doc_to_visual, doc_id, task, split = request.args
        return _Ask(
            index,
            f"{task}, question {doc_id}",
            text,
            lambda: doc_to_visual(self.task_dict[task][split][doc_id]),
        )

    @torch.inference_mode()
    def _answer(self, asks: Sequence[_Ask], options: dict[str, Any]) -> list[str]:
        if options.get("do_sample") or options.get("num_beams", 1) != 1:
            raise UserError(f"ablate answers greedily, but the task asks for {options}")
        samples, answers = self._samples(asks), [""] * len(asks)
        rooms = {place: self._room(sample) for place, sample in enumerate(samples)}
        for place in [place for place, room in rooms.items() if room <= 0]:
            short = 1 - rooms.pop(place)
            print(f"{asks[place].name}: left unanswered, {short} tokens too long", file=sys.stderr)
        if rooms:
            with self._precision:
                ids = self.model.generate(
                    collate([samples[place] for place in rooms]).to(self.device),
                    max_new_tokens=min(
                        options.get("max_new_tokens", MAX_NEW_TOKENS), *rooms.values()
                    ),
                    stop_ids=self._stop_ids,
                )
            until = options.get("until") or []
            stops = [until] if isinstance(until, str) else until
            for place, text in zip(rooms, self.tokenizer.batch_decode(ids, True), strict=True):
                answers[place] = _cut(text, stops)
        return answers

    def _room(self, sample: Sample) -> int:
        """Tokens left in the language model's context for an answer."""
        seen = len(sample.images) * (self.model.num_visual_tokens - 1)
        return self.model.spec.llm.context - len(sample.ids) - seen

    def _samples(self, asks: Sequence[_Ask]) -> list[Sample]:
        """Each question as a conversation of which the answer is still to come."""
        images = [self._images(ask) for ask in asks]
        messages = [
            [{"role": "user", "content": _with_images(ask.text, len(seen))}]
            for ask, seen in zip(asks, images, strict=True)
        ]
        return [
            Sample(ids, np.zeros(len(ids), dtype=np.bool_), seen)
            for ids, seen in zip(self._chat.prompts(messages), images, strict=True)
        ]

    def _images(self, ask: _Ask) -> list[npt.NDArray[np.uint8]]:
        """(3,H,W) each."""
        with _readable(ask.name):
            images = ask.open_images()
        return [self._pixels(image, ask) for image in images]

    def _pixels(self, image: Image.Image, ask: _Ask) -> npt.NDArray[np.uint8]:
        """(3,H,W); a file that was decoded before is not decoded again."""
        file = str(getattr(image, "filename", ""))
        if file in self._decoded:
            return self._decoded[file]
        with _readable(file or ask.name):
            pixels = as_array(image, self.canvas, self.padding)
        if self.blank:
            pixels = np.full_like(pixels, GREY)
        if file and (len(self._decoded) + 1) * pixels.nbytes <= KEPT:
            self._decoded[file] = pixels
        return pixels


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # as `read_image`
        raise UserError(f"{what}: cannot be read as an image: {reason(error)}") from None


def _ends_of_turn(chat: Chat, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: the tokenizer's, and what the template closes a turn with."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    tokens = chat.encode([turns])[0]
    last = int(tokens.ids[tokens.learn][-1])
    ends = {tokenizer.eos_token_id, last if last in tokenizer.all_special_ids else None}
    return sorted(end for end in ends if end is not None)


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
