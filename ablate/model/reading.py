"""A language model reads prompts and answers greedily.

Shapes: B prompts, T tokens read at a time, S read so far, D model width, H heads, E width of one.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class Beginning(NamedTuple):
    """What a language model keeps of a text that it has read, to go on with it at any time."""

    states: tuple[Tensor, ...]
    """(S,H,E) each: the keys and the values of every layer in turn."""

    @property
    def nbytes(self) -> int:
        """Of all states."""
        return sum(state.nbytes for state in self.states)


ROOM = 32
"""How many more tokens a layer has memory for when it is full."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A layer's keys and values in memory with room for more: a token does not copy them all."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Before the first of them."""
        super().lazy_initialization(key_states, value_states)
        self._rooms = key_states[:, :, :0], value_states[:, :, :0]

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """(B,H,S,E) each: all of them, with these of T more tokens (B,H,T,E) at the end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        past, more = self.get_seq_length(), (key_states, value_states)
        keys, values = (
            _written(room, past, each) for room, each in zip(self._rooms, more, strict=True)
        )
        self._rooms = keys, values
        return self._shown(past + key_states.shape[2])

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these rows, in this order."""
        keys, values = (room.index_select(0, beam_idx) for room in self._rooms)
        self._rooms = keys, values
        self._shown(self.get_seq_length())

    def _shown(self, tokens: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (room[:, :, :tokens] for room in self._rooms)
        return self.keys, self.values


def _written(room: Tensor, past: int, more: Tensor) -> Tensor:
    """The room (B,H,R,E), a larger one where it is full, with `more` behind its first tokens."""
    tokens = past + more.shape[2]
    if tokens > room.shape[2]:
        small, room = room, more.new_empty(*more.shape[:2], tokens + ROOM, more.shape[3])
        room[:, :, :past] = small[:, :, :past]
    room[:, :, past:tokens] = more
    return room


class Reading:
    """Prompts that `llm` has read side by side, and goes on with; their keys and values are kept.

    `mask`: (B,S) bool, the real tokens of what was read. Padding may stand between two texts that
    were read one after the other: positions count real tokens alone.
    """

    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm
        self.mask = torch.zeros(0)
        self._cache = DynamicCache(config=llm.config)
        self._cache.layers = [
            RoomyLayer() if type(layer) is DynamicLayer else layer for layer in self._cache.layers
        ]
        self._next = torch.zeros(0)

    @staticmethod
    def can_branch(llm: PreTrainedModel) -> bool:
        """Whether each of its layers keeps every token, so that padding between two texts is never
        counted as one, as a sliding window would."""
        layers = DynamicCache(config=llm.config).layers
        return all(type(layer) is DynamicLayer for layer in layers)

    def resume(self, beginnings: Sequence[Beginning]) -> None:
        """Before anything is read: have these read, one for each prompt."""
        of_prompts = zip(*(beginning.states for beginning in beginnings), strict=True)
        padded = [pad_sequence([*states], True, padding_side="left") for states in of_prompts]
        for layer, (keys, values) in enumerate(zip(padded[::2], padded[1::2], strict=True)):
            self._cache.update(keys.transpose(1, 2), values.transpose(1, 2), layer)
        real = [keys.new_ones(len(beginning.states[0])).bool() for beginning in beginnings]
        self.mask = pad_sequence(real, True, padding_side="left")

    def beginnings(self) -> list[Beginning]:
        """What was read of each prompt, in memory of its alone; only where it `can_branch`."""
        states = [
            state.transpose(1, 2)
            for layer in self._cache.layers
            for state in (layer.keys, layer.values)
        ]
        return [
            Beginning(tuple(state[row][real] for state in states))
            for row, real in enumerate(self.mask)
        ]

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
