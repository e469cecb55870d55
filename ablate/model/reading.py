"""A language model reads prompts and answers greedily.

Shapes: B prompts, in R rows of up to M that go on from one text; T tokens of each read at a time, S
kept of a row so far, D model width, H heads, E width of one.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from ablate.decoder import reads_by_attention

ROOM = 32
"""How many more tokens a layer has memory for when it is full."""


class AllKept(Exception):  # noqa: N818  # it is no error
    """Ends a forward pass whose last keys and values are kept, where no more is asked of it."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A layer's keys and values in memory with room for more: a token does not copy them all."""

    ends_pass = False
    """Whether `AllKept` once these are."""

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
        shown = self._shown(past + key_states.shape[2])
        if self.ends_pass:
            raise AllKept
        return shown

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

    Prompts that begin with one text, which is kept once for them, may share a row: each sees what
    the row began with and its own, and none the others'. Padding may stand between two texts that
    were read one after the other: positions count real tokens alone.

    `whole` (default False): all of a prompt is read in one pass, as what is injected may need it;
    else its last token by itself, as the last block need make keys and values alone of the others.
    """

    def __init__(self, llm: PreTrainedModel, *, whole: bool = False) -> None:
        self.llm = llm
        self._whole = whole or not self.can_branch(llm)
        self._cache = DynamicCache(config=llm.config)
        self._cache.layers = [
            RoomyLayer() if type(layer) is DynamicLayer else layer for layer in self._cache.layers
        ]
        self._rows: list[list[int]] = []  # the prompts of each
        self._seen = torch.zeros(0)  # (R,M,S) bool: which tokens of its row each prompt sees
        self._next = torch.zeros(0)  # (R,M) the token after them

    @staticmethod
    def can_branch(llm: PreTrainedModel) -> bool:
        """Whether each of its layers keeps every token, so that padding between two texts is never
        counted as one, as a sliding window would, and looks at those that it is told to."""
        layers = DynamicCache(config=llm.config).layers
        return all(type(layer) is DynamicLayer for layer in layers) and reads_by_attention(llm)

    @property
    def lengths(self) -> list[int]:
        """How many tokens were read of each prompt."""
        return [tokens for _, tokens in sorted(self._by_prompt(self._seen.sum(2)))]

    def begin(self, embedded: Tensor, mask: Tensor, of: Sequence[int], tokens: int) -> None:
        """Read what several prompts begin with: (N,T,D), padded on the left as `mask` (N,T) says.

        `of`: (B,) of each prompt the number of its beginning, after which up to so many `tokens`
        are to follow. Before anything is read, and only where it `can_branch`.
        """
        self._start(mask)
        self._read_ahead(embedded, mask)
        # What others of a row have is computed, too: little, up to what all have or the width.
        self._rows = _shared_rows(of, max(mask.shape[1], embedded.shape[2]) // tokens)
        rows = torch.tensor([of[prompts[0]] for prompts in self._rows], device=mask.device)
        if not torch.equal(rows, torch.arange(len(mask), device=mask.device)):
            self._cache.reorder_cache(rows)
        self._seen = self._seen[rows].expand(-1, max(map(len, self._rows)), -1)

    def read(self, embedded: Tensor, mask: Tensor) -> None:
        """Read on in each prompt: (B,T,D), padded on the left as `mask` (B,T) says."""
        if not self._rows:
            self._start(mask)
        if self._whole:  # a row each
            self._next = self._read(embedded, torch.zeros_like(mask, dtype=torch.long), mask)
        else:
            self._read_ahead(embedded[:, :-1], mask[:, :-1])
            self._read_on(embedded[self._prompts(mask.device), -1])

    def keep(self, prompts: Collection[int]) -> None:
        """Go on with these alone."""
        kept = [[n for n, prompt in enumerate(row) if prompt in prompts] for row in self._rows]
        rows = [row for row, columns in enumerate(kept) if columns]
        self._rows = [[self._rows[row][column] for column in kept[row]] for row in rows]
        row, column = torch.tensor(rows), _padded([kept[row] for row in rows])
        row, column = row.to(self._seen.device), column.to(self._seen.device)
        if len(rows) < len(self._seen):
            self._cache.reorder_cache(row)
        self._seen = self._seen[row[:, None], column]
        self._next = self._next[row[:, None], column]

    def answers(
        self, most: Sequence[int], stop_ids: Collection[int], drop_ended: bool = True
    ) -> list[list[int]]:
        """The likeliest tokens that follow each prompt, up to and without one of `stop_ids`.

        `most`: how many, for each; `drop_ended`: go on without the prompts whose answers have
        ended, which changes the batch that the language model sees.
        """
        answers: list[list[int]] = [[] for _ in most]
        going = {prompt for prompt, tokens in enumerate(most) if tokens > 0}
        while True:
            for prompt, token in self._by_prompt(self._next):
                if prompt in going and token not in stop_ids:
                    answers[prompt].append(token)
                if token in stop_ids or len(answers[prompt]) == most[prompt]:
                    going.discard(prompt)
            if not going:
                return answers
            if drop_ended and len(going) < sum(map(len, self._rows)):
                self.keep(going)
            self._read_on(self.llm.get_input_embeddings()(self._next))

    def _start(self, mask: Tensor) -> None:
        """A row for each prompt, of which nothing is read."""
        self._rows = [[prompt] for prompt in range(len(mask))]
        self._seen = mask.new_zeros(len(mask), 1, 0)

    def _read_ahead(self, embedded: Tensor, mask: Tensor) -> None:
        """As `read`, where more is to follow: of a row the texts of its prompts end to end."""
        prompts, tokens = self._prompts(mask.device), mask.shape[1]
        real = (mask[prompts] & (prompts >= 0)[..., None]).flatten(1)
        longest = int(real.sum(1).max())
        if not longest:
            return
        order = real.byte().argsort(dim=1, descending=True, stable=True)[:, :longest]
        column = order.div(tokens, rounding_mode="floor")
        text = embedded[prompts.gather(1, column), order - tokens * column]
        self._cache.layers[-1].ends_pass = True
        with suppress(AllKept):
            self._read(text, column, real.gather(1, order))
        self._cache.layers[-1].ends_pass = False

    def _read_on(self, embedded: Tensor) -> None:
        """A token more of each prompt: (R,M,D)."""
        prompts = self._prompts(embedded.device)
        columns = torch.arange(prompts.shape[1], device=embedded.device).expand_as(prompts)
        self._next = self._read(embedded, columns, prompts >= 0)

    def _read(self, embedded: Tensor, column: Tensor, real: Tensor) -> Tensor:
        """Tokens of rows, (R,T,D), of which prompt in its row each is and whether it is a `real`
        one (R,T) -> (R,M) what follows the last M."""
        prompts = self._seen.shape[1]
        numbers = torch.arange(prompts, device=column.device)[:, None]
        sees = (column[:, None] == numbers) & real[:, None]
        counts = self._seen.sum(2, keepdim=True) + sees.cumsum(2)
        positions = (counts.gather(1, column[:, None])[:, 0] - 1).clamp(min=0)
        self._seen = torch.cat([self._seen, sees], 2)
        output = self.llm(
            inputs_embeds=embedded,
            attention_mask=self._attention_mask(column, embedded.dtype),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=prompts,
        )
        return torch.as_tensor(output.logits.argmax(-1))

    def _attention_mask(self, column: Tensor, dtype: torch.dtype) -> Tensor:
        """Of the last tokens, of which prompt in its row each is (R,T): (R,1,T,S) added to what it
        thinks of others, that are none of its; of rows of one prompt (R,S) which tokens are real,
        from which the language model works it out."""
        if self._seen.shape[1] == 1:
            return self._seen[:, 0].long()
        kept = self._seen.shape[2]
        sees = self._seen.gather(1, column[..., None].expand(-1, -1, kept))
        places = torch.arange(kept, device=column.device)
        query = places[-column.shape[1] :, None]
        sees = sees & (places <= query) | (places == query)  # padding sees itself
        mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
        return mask.masked_fill_(~sees, -torch.inf)[:, None]

    def _prompts(self, device: torch.device) -> Tensor:
        """(R,M) the prompts of each row, -1 where it has fewer."""
        return _padded(self._rows).to(device)

    def _by_prompt(self, numbers: Tensor) -> list[tuple[int, int]]:
        """Each prompt and what (R,M) numbers say of it."""
        return [
            (prompt, number)
            for row, numbers_of_row in zip(self._rows, numbers.tolist(), strict=True)
            for prompt, number in zip(row, numbers_of_row, strict=False)
        ]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """(R,M) with -1 behind the shorter ones."""
    return torch.tensor([*zip_longest(*rows, fillvalue=-1)]).T.contiguous()


def _shared_rows(of: Sequence[int], most: int) -> list[list[int]]:
    """The prompts of each row, of one beginning each, at most so many, but at least one.

    Nor are there more than a beginning has on average, so that few rows have an empty place.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for prompt, beginning in enumerate(of):
        alike[beginning].append(prompt)
    most = max(1, min(most, -(-len(of) // len(alike))))
    return [row[n : n + most] for row in alike.values() for n in range(0, len(row), most)]
