"""The face a trained candidate shows to lmms-eval: questions in, greedy answers out.

Shapes: L visual tokens of an image, D model width, H W pixels.
"""

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lmms_eval.api.instance import Instance
from PIL import ImageFile
from torch import Tensor

from ablate.cost import answering
from ablate.cost.answering import Blocks
from ablate.data.batch import Batch
from ablate.data.chat import Chat
from ablate.data.collate import TOGETHER, collate_prompts, cut_images
from ablate.data.conversations import IMAGE
from ablate.data.dataset import Pixels
from ablate.data.images import as_array, pixel_digest
from ablate.data.notes import with_notes
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.asks import Ask, Name, Picture, name_of, readable
from ablate.evaluate.beginnings import Ids, in_two
from ablate.evaluate.generating import GeneratingLMM
from ablate.evaluate.recent import Recent
from ablate.evaluate.turns import cut, with_images
from ablate.model.mllm import Beginnings
from ablate.model.onednn import use_onednn
from ablate.model.routing import name_experts
from ablate.worker.process_group import StepRanks

# The import of lmms-eval's tasks makes PIL fill up broken images in silence, process-wide.
ImageFile.LOAD_TRUNCATED_IMAGES = False

GREY = 127
"""What every pixel of a blanked image is: the middle of the range."""
KEPT = 2**31
"""Bytes of visual tokens kept in main memory, as several questions are asked of each image."""


class NothingToScoreError(Exception):
    """Told by a process whose answers are with the leader of its step, which scores."""


class AblateLMM(GeneratingLMM):
    """lmms-eval's model `ablate`.

    A question that leaves no room in the language model's context (several images at once) is left
    unanswered. An image goes through the encoders once for all questions and tasks that show it, as
    long as its visual tokens are among the last `KEPT` bytes; where the model `sees_each_question`,
    once for each question. The language model reads it, too, once for those in a batch; on a GPU in
    bfloat16, as it was trained.

    `pretrained`: the folder of a finished step of training, or an `Answerer`. `batch_size`: how
    many questions at once; `auto`: as many as memory holds (`ablate.cost.answering`). `blank`: show
    mean grey instead of every image. `device`: default the GPU if there is one. `world`: the
    processes that share the batches, which are those of one; the leader alone gets answers. `watch`
    is called after each batch with the number of questions answered and, where it was dealt to this
    process, with the answers.

    By task and number of a question there: `known` has answers, of which none is asked for; `shown`
    what it shows, so that questions about one image are asked together; `files` those of its
    images, for which its task is not asked then; `named`, where the model `names_experts`, who was
    named for each of its images. `notes` gives, for such a name and how many images are shown, what
    stands behind each of them in the prompt; `maps`, for pixels, such a name, and the image's
    number there, these with what annotators drew behind their colours.
    """

    generated_by = ""
    """What generates the answers, where it is not the model itself."""

    def __init__(
        self,
        pretrained: str | Answerer,
        batch_size: int | str = "auto",
        device: str | None = None,
        blank: bool = False,
        watch: Callable[[int, Mapping[Name, str]], None] | None = None,
        world: StepRanks | None = None,
    ) -> None:
        super().__init__()
        if isinstance(pretrained, str):
            answerer = Answerer.load(Path(pretrained))
            answerer.require_silent()
        else:
            answerer = pretrained
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = answerer.model.to(self.device).eval()
        if self.device.type == "cpu":
            use_onednn(self.model)
        self.tokenizer = answerer.tokenizer
        self.name = answerer.name
        self.tiles = self.model.tiles
        self.canvas = answerer.own_canvas
        self.padding = answerer.padding
        self.batch_size = None if batch_size == "auto" else int(batch_size)
        self.blank = blank
        self.watch = watch
        self.known: Mapping[Name, str] = {}
        self.shown: Mapping[Name, str] = {}
        self.files: Mapping[Name, Sequence[str]] = {}
        self.named: dict[Name, list[list[bool]]] = {}
        self.notes: Callable[[Name, int], Sequence[str]] | None = None
        self.maps: Callable[[Pixels, Name, int], Pixels] | None = None
        self.world = world or StepRanks()
        half = self.device.type == "cuda"
        self._precision = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        self.chat = Chat(self.tokenizer)
        self._stop_ids = self.chat.stop_ids
        self._seen = Recent[Tensor](KEPT)  # of images, by the digest of the pixels
        self._digests: dict[str, bytes] = {}  # by file, so that none need be decoded to know it

    def __str__(self) -> str:
        """What lmms-eval's response cache tells models apart by."""
        return f"ablate:{self.name}" + (":blank" if self.blank else "")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answer to each request, in their order; greedy, in batches of similar length."""
        dealt_here: list[tuple[int, str]] = []
        self.named = {}
        names = [name_of(request) for request in requests]
        new = [index for index, name in enumerate(names) if name not in self.known]
        done = 0
        for number, asks in enumerate(self._batches([requests[n] for n in new])):
            answers: dict[Name, str] = {}
            if number % self.world.size == self.world.rank:
                texts = self._answer(asks)
                dealt_here += zip([ask.number for ask in asks], texts, strict=True)
                answers = dict(zip([ask.key for ask in asks], texts, strict=True))
            done += len(asks)
            if self.watch:
                self.watch(done, answers)
        dealt = self.world.gather(dealt_here)
        named = self.world.gather([[*name, who] for name, who in self.named.items()])
        self.named = {(task, number): who for some in named for task, number, who in some}
        if not self.world.leads:
            raise NothingToScoreError
        given = {new[index]: answer for some in dealt for index, answer in some}
        return [given[n] if n in given else self.known[name] for n, name in enumerate(names)]

    def _batches(self, requests: Sequence[Instance]) -> Iterator[list[Ask]]:
        """Questions about one image side by side, sorted by tokens so as to pad little."""
        texts = [request.args[0] for request in requests]
        images = [max(1, text.count(IMAGE)) for text in texts]  # it may turn out to show others
        keys = [name_of(request) for request in requests]
        prompts = self._prompts(keys, texts, images) if texts else []  # all may be known
        asked = zip(prompts, images, requests, strict=True)
        asks = [self._ask(number, *parts) for number, parts in enumerate(asked)]
        alike: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            alike[self.shown.get(name_of(request), f"question {index}")].append(index)
        lengths = [self._tokens(ask) for ask in asks]
        groups = [sorted(group, key=lambda index: lengths[index]) for group in alike.values()]
        groups.sort(key=lambda group: (lengths[group[-1]], group[0]))
        batch: list[Ask] = []
        longest = 0
        for index in (index for group in groups for index in group):
            longest = max(longest, lengths[index])
            if batch and len(batch) >= self._at_once(longest):
                yield batch
                batch, longest = [], lengths[index]
            batch.append(asks[index])
        if batch:
            yield batch

    def _ask(self, number: int, prompt: Ids, images: int, request: Instance) -> Ask:
        text, options, doc_to_visual, doc_id, task, split = request.args
        return Ask(
            number,
            (task, doc_id),
            f"{task}, question {doc_id}",
            text,
            options,
            prompt,
            images,
            lambda: doc_to_visual(self.task_dict[task][split][doc_id]),
            self.files.get((task, doc_id)),
        )

    def _tokens(self, ask: Ask) -> int:
        """Of a question with what it shows, and its answer."""
        fixed = self.tiles.tiling.fixed  # else it must be opened to know
        shown = self.tiles.most * ask.images if fixed else self._visual(ask.open())
        return len(ask.prompt) + shown + ask.max_new_tokens

    def _at_once(self, tokens: int) -> int:
        """How many questions of so many tokens are answered at once."""
        if self.batch_size:
            return self.batch_size
        if self.model.sees_each_question:
            return answering.ONE_BY_ONE
        blocks, memory, width = self._memory
        return blocks.questions_at_once(tokens, memory, width)

    @cached_property
    def _memory(self) -> tuple[Blocks, float, int]:
        """The language model's blocks, the bytes that a batch may take, and those of a number."""
        blocks = Blocks.of(self.model.llm.config.to_dict(), self.model.spec.llm.width)
        if self.device.type != "cuda":
            return blocks, answering.PROCESSOR, 4
        weights = sum(parameter.nbytes for parameter in self.model.parameters())
        held = torch.cuda.get_device_properties(self.device).total_memory
        return blocks, answering.SHARE * (held - weights), 2  # bfloat16

    @torch.inference_mode()
    def _answer(self, asks: Sequence[Ask]) -> list[str]:
        for ask in asks:
            ask.require_greedy()
        shown = [ask.open() for ask in asks]
        prompts, answers = [ask.prompt for ask in asks], [""] * len(asks)
        for index, (ask, pictures) in enumerate(zip(asks, shown, strict=True)):
            if len(pictures) != ask.images:
                [prompts[index]] = self._prompts([ask.key], [ask.text], [len(pictures)])
        rooms = {
            index: self._room(len(prompts[index]), pictures) for index, pictures in enumerate(shown)
        }
        for index in [index for index, room in rooms.items() if room <= 0]:
            short = 1 - rooms.pop(index)
            print(f"{asks[index].name}: left unanswered, {short} tokens too long", file=sys.stderr)
        if rooms:
            most = [min(asks[index].max_new_tokens, room) for index, room in rooms.items()]
            with self._precision:
                ids = self._generate(
                    [prompts[index] for index in rooms], [shown[index] for index in rooms], most
                )
            for index, text in zip(rooms, self.tokenizer.batch_decode(ids, True), strict=True):
                answers[index] = cut(text, asks[index].stops)
        return answers

    def _generate(
        self, prompts: Sequence[Ids], shown: Sequence[Sequence[Picture]], most: Sequence[int]
    ) -> list[list[int]]:
        """The tokens of each answer, at most so many."""
        pictures = [picture for some in shown for picture in some]
        if self.model.sees_each_question:
            pixels = [self._pixels(picture) for picture in pictures]
            batch = self._batch(prompts, [len(some) for some in shown], pixels).to(self.device)
            chosen = None
            if self.model.names_experts and pixels:
                batch, chosen = name_experts(self.model, batch)
                for picture, who in zip(pictures, chosen.tolist(), strict=True):
                    self.named.setdefault(picture.key, []).append(who)
            return self.model.generate(batch, most, self._stop_ids, chosen=chosen)
        digests, tokens = self._see(pictures)
        in_turn = iter(digests)
        seen: Sequence[Sequence[bytes]] = [[next(in_turn) for _ in some] for some in shown]
        parts = in_two(prompts, seen) if self.model.reads_beginnings_once else None
        if parts:
            starts, images = zip(*parts.starts, strict=True)
            after = Beginnings(*self._with_images(starts, images, tokens), parts.of)
            texts = self._batch(parts.rests, [0] * len(prompts)).to(self.device)
            return self.model.generate(texts, most, self._stop_ids, after=after)
        batch, visual = self._with_images(prompts, seen, tokens)
        return self.model.generate(batch, most, self._stop_ids, visual)

    def _with_images(
        self,
        prompts: Sequence[Ids],
        seen: Sequence[Sequence[bytes]],
        tokens: Mapping[bytes, Tensor],
    ) -> tuple[Batch, list[Tensor] | None]:
        """The prompts, and the visual tokens of the images in them, if any, in turn."""
        batch = self._batch(prompts, [len(some) for some in seen]).to(self.device)
        visual = [tokens[digest].to(self.device) for some in seen for digest in some]
        return batch, visual or None

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
            total += self.tiles.count(picture.size)
        return total

    def _prompts(
        self, keys: Sequence[Name], texts: Sequence[str], images: Sequence[int]
    ) -> list[Ids]:
        """Each question, of so many images, as a conversation whose answer is still to come."""
        talks = [
            [{"role": "user", "content": with_images(text, number)}]
            for text, number in zip(texts, images, strict=True)
        ]
        if self.notes:
            notes = [self.notes(key, number) for key, number in zip(keys, images, strict=True)]
            talks = [with_notes(talk, some) for talk, some in zip(talks, notes, strict=True)]
        return self.chat.prompts(talks)

    def _batch(
        self,
        prompts: Sequence[Ids],
        images: Sequence[int],
        pixels: Sequence[npt.NDArray[np.uint8]] = (),
    ) -> Batch:
        """The prompts, of so many images each, with their pixels or none."""
        seen, sizes = cut_images(pixels, self.tiles)
        return dataclasses.replace(collate_prompts(prompts, images), pixels=seen, sizes=sizes)

    def _see(self, pictures: Sequence[Picture]) -> tuple[list[bytes], dict[bytes, Tensor]]:
        """A key of each image, its digest, and by these its visual tokens (L,D): what the language
        model keeps of them goes by the same key, so other tokens of an image need another."""
        return self._of_images(pictures, self._look)

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
                digest = pixel_digest(pixels)
                if picture.file:
                    self._digests[picture.file] = digest
                if digest not in self._seen:
                    new[digest] = pixels
            digests.append(digest)
        tokens = {digest: self._seen[digest] for digest in digests if digest not in new}
        for some in (list(new)[n : n + TOGETHER] for n in range(0, len(new), TOGETHER)):
            for digest, made in zip(some, look([new[digest] for digest in some]), strict=True):
                self._seen[digest] = tokens[digest] = made.to("cpu", copy=True)
        return digests, tokens

    def _look(self, images: Sequence[npt.NDArray[np.uint8]]) -> Sequence[Tensor]:
        """The visual tokens (L,D) of each image (3,H,W)."""
        seen, sizes = cut_images(images, self.tiles)
        return self.model.see(seen.to(self.device), sizes)

    def _pixels(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """(3,H,W), or with maps drawn of it behind its colours (3+K,H,W)."""
        with readable(picture.name):
            pixels = as_array(picture.open(), self.canvas, self.padding)
        seen = np.full_like(pixels, GREY) if self.blank else pixels
        return self.maps(seen, picture.key, picture.number) if self.maps else seen
