"""A language model reads prompts and answers greedily.

Shapes: B prompts, T tokens read at a time, S read so far, D model width.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from ablate.data.batch import Batch


class Rest(NamedTuple):
    """What follows in prompts whose beginnings are a batch."""

    rows: Tensor
    """(B,) int64: the row of that batch each begins with."""
    texts: Batch
    """What each says from there on, without images."""


class Reading:
    """Prompts that `llm` has read side by side, and goes on with; their keys and values are kept.

    `mask`: (B,S) bool, the real tokens of what was read. Padding may stand between two texts that
    were read one after the other: positions count real tokens alone.
    """

    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm
        self.mask = torch.zeros(0)
        self._cache = DynamicCache(config=llm.config)
        self._next = torch.zeros(0)

    @staticmethod
    def can_branch(llm: PreTrainedModel) -> bool:
        """Whether each of its layers keeps every token, so that padding between two texts is never
        counted as one, as a sliding window would."""
        layers = DynamicCache(config=llm.config).layers
        return all(type(layer) is DynamicLayer for layer in layers)

    def read(self, embedded: Tensor, mask: Tensor) -> None:
        """Read on in each prompt: (B,T,D), padded on the left as `mask` (B,T) says."""
        self.mask = torch.cat([self.mask, mask], 1) if self.mask.numel() else mask
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -mask.shape[1] :]
        output = self.llm(
            inputs_embeds=embedded,
            attention_mask=self.mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._next = output.logits[:, -1].argmax(-1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these prompts, in this order; one may be taken several times."""
        self.mask, self._next = self.mask[rows], self._next[rows]
        self._cache.reorder_cache(rows)

    def answers(
        self, most: Sequence[int], stop_ids: Collection[int], drop_ended: bool = True
    ) -> list[list[int]]:
        """The likeliest tokens that follow each prompt, up to and without one of `stop_ids`.

        `most`: how many, for each; `drop_ended`: go on without the prompts whose answers have
        ended, which changes the batch that the language model sees.
        """
        answers: list[list[int]] = [[] for _ in most]
        rows = list(range(len(most)))
        ended = {row for row in rows if most[row] <= 0}
        while True:
            for row, token in zip(rows, self._next.tolist(), strict=True):
                if row not in ended and token not in stop_ids:
                    answers[row].append(token)
                if token in stop_ids or len(answers[row]) == most[row]:
                    ended.add(row)
            going = [index for index, row in enumerate(rows) if row not in ended]
            if not going:
                return answers
            if drop_ended and len(going) < len(rows):
                self.keep(torch.tensor(going, device=self.mask.device))
                rows = [rows[index] for index in going]
            embedded = self.llm.get_input_embeddings()(self._next[:, None])
            self.read(embedded, self.mask.new_ones(len(rows), 1))
