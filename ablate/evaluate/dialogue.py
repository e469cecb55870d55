"""A conversation with a trained candidate, turn by turn, about images that it is shown."""

import dataclasses
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import torch

from ablate.data.chat import Chat, Messages
from ablate.data.collate import collate_prompts, cut_images
from ablate.data.conversations import IMAGE
from ablate.data.notes import annotated
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.masking import Masking
from ablate.evaluate.turns import without_images

MAX_NEW_TOKENS = 512
Pixels = npt.NDArray[np.uint8]
"""(3,H,W), or with maps behind the colours (3+K,H,W): an `Answerer`'s `picture`."""


class Dialogue:
    """What was said so far. An image that is `shown` stands before the words that come next.

    `kept`: the numbers of the experts that see something, the others are masked; default all.
    UserError where experts of this model cannot be masked.
    """

    def __init__(self, subject: Answerer, kept: Collection[int] | None = None) -> None:
        self._model, self._tokenizer = subject.model.eval(), subject.tokenizer
        self._chat = Chat(subject.tokenizer)
        self._room = min(MAX_NEW_TOKENS, subject.model.spec.llm.context // 4)
        self.messages: Messages = []
        self._pictures: list[Pixels] = []
        self._before = ""
        self._kept = kept or ()
        self._masking = None if kept is None else Masking(self._model)

    def show(self, pixels: Pixels, note: str = "") -> None:
        """Show an image with what is said next, and behind it what annotators say of it."""
        self._pictures.append(pixels)
        self._before += annotated(f"{IMAGE}\n", iter([note]))

    def say(self, words: str) -> str:
        """The answer, greedily; words that hold `<image>` mean no image by it.

        UserError where the conversation is too long for the model: it is then as it was before.
        """
        turn = {"role": "user", "content": self._before + without_images(words)}
        messages = [*self.messages, turn]
        [ids] = self._chat.prompts([messages])
        seen, sizes = cut_images(self._pictures, self._model.tiles)
        batch = collate_prompts([ids], [len(self._pictures)])
        batch = dataclasses.replace(batch, pixels=seen, sizes=sizes)
        [written] = self._model.generate(batch, self._room, self._chat.stop_ids, self._masked())
        answer: str = self._tokenizer.decode(written, skip_special_tokens=True).strip()
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        self._before = ""
        return answer

    def _masked(self) -> list[torch.Tensor] | None:
        """The visual tokens of what was shown, where experts are masked."""
        if self._masking is None or not self._pictures:
            return None
        features = torch.stack(self._masking.features(self._pictures))
        return self._masking.see(features, self._kept)
