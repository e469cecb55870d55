"""Conversations as token ids, by the tokenizer's own chat template; only the assistant is learnt.

What the assistant says is found in the rendered text, not in the tokens: by the template's
`{% generation %}` blocks where it has them, otherwise by rendering the conversation up to each
turn. So any template works for which a longer conversation begins with the text of a shorter one.
A blank that ends the generation prompt may be one token with the first word of the answer: it is
learnt with the answer then, and left out of prompts, which so are what training saw.
"""

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from ablate.data.batch import BETWEEN_ANSWERS, IMAGE_TOKEN_ID
from ablate.data.conversations import IMAGE
from ablate.errors import UserError

Messages = list[dict[str, str]]

PLAIN = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<image>' * message['content'].count('<image>') }}"
    "{% elif message['role'] == 'assistant' %}"
    "{% generation %}{{ blank + message['content'] + '\n' }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""What LLaVA pre-trains its projector on, by its conversation `plain`: of what the human says only
the images, then what is said of them, to the end of the line. `blank` is what the tokenizer puts
before a text, for LLaVA tokenises that behind an image as one of its own."""


class Tokens(NamedTuple):
    """One conversation: `ids` (T,) int32, and `learn` (T,) bool, True where the assistant is."""

    ids: npt.NDArray[np.int32]
    learn: npt.NDArray[np.bool_]


def joined(better: Tokens, worse: Tokens) -> Tokens:
    """Two conversations as one, with `BETWEEN_ANSWERS` between them."""
    ids = np.concatenate([better.ids, [np.int32(BETWEEN_ANSWERS)], worse.ids])
    return Tokens(ids, np.concatenate([better.learn, [False], worse.learn]))


def apart(tokens: Tokens) -> list[Tokens]:
    """The two conversations that were joined; one alone as it is."""
    cut = np.flatnonzero(tokens.ids == BETWEEN_ANSWERS)
    if not len(cut):
        return [tokens]
    halves = slice(None, cut[0]), slice(cut[0] + 1, None)
    return [Tokens(tokens.ids[half], tokens.learn[half]) for half in halves]


class Chat:
    """A tokenizer with its chat template; `<image>` becomes one `IMAGE_TOKEN_ID`.

    `plain`: with `PLAIN` in place of its template; `pairs`: rows are to be encoded with the better
    and the worse of two answers. Raises `UserError` for a tokenizer without a chat template, or
    without character offsets.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, plain: bool = False, pairs: bool = False
    ) -> None:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        if not tokenizer.chat_template:
            raise UserError(f"the tokenizer {name} has no chat template")
        if not tokenizer.is_fast:
            raise UserError(f"the tokenizer {name} gives no offsets; use its fast version")
        self.name = name
        self.pairs = pairs
        self._tokenizer = copy.deepcopy(tokenizer)  # the caller's stays without our token
        self._tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)])
        self._image = self._tokenizer.convert_tokens_to_ids(IMAGE)
        if plain:
            blank = " " * tokenizer.tokenize("a")[0].startswith("▁")
            self._tokenizer.chat_template = f"{{% set blank = '{blank}' %}}{PLAIN}"
        self._template: str = self._tokenizer.get_chat_template()
        self._blank: int | None = None
        self._marks_assistant = bool(re.search(r"\{%-?\s*generation\s*-?%\}", self._template))

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A copy of the tokenizer that knows `<image>` as one token."""
        return copy.deepcopy(self._tokenizer)

    @property
    def stop_ids(self) -> list[int]:
        """The tokens that end an answer: the tokenizer's, and what closes a turn."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        [tokens] = self.encode([turns])
        last = int(tokens.ids[tokens.learn][-1])
        closes = last if last in self._tokenizer.all_special_ids else None
        return sorted({end for end in (self._tokenizer.eos_token_id, closes) if end is not None})

    @property
    def blank(self) -> int:
        """Characters of white space at a prompt's end that are left to the answer."""
        return self._joined([{"role": "user", "content": "a"}])

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides which ids a conversation gets."""
        backend = self._tokenizer.backend_tokenizer.to_str()
        parts = [backend, self._template, self._tokenizer.special_tokens_map]
        parts += ["pairs"] if self.pairs else []
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()

    def cut(self, text: str, tokens: int) -> str:
        """A text to be put into a prompt (see `cut`)."""
        return cut(self._tokenizer, text, tokens)

    def encode(self, conversations: Sequence[Messages]) -> list[Tokens]:
        """The tokens of whole conversations (each ends with an assistant's turn)."""
        texts, spans = self._rendered(conversations)
        encoded = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        blank = self._joined(conversations[0]) if conversations else 0
        spans = [_from_blank(text, turns, blank) for text, turns in zip(texts, spans, strict=True)]
        return [
            Tokens(self._ids(ids), _within(np.array(offsets).reshape(-1, 2), turns))
            for ids, offsets, turns in zip(
                encoded["input_ids"], encoded["offset_mapping"], spans, strict=True
            )
        ]

    def prompts(self, conversations: Sequence[Messages]) -> list[npt.NDArray[np.int32]]:
        """The ids that ask for the next turn of the assistant, as generation needs them.

        Those of equal conversations, as many questions of benchmarks are, are made once.
        """
        keys = [repr(messages) for messages in conversations]
        different = dict(zip(keys, conversations, strict=True))
        texts = self._render([*different.values()], add_generation_prompt=True)
        blank = self._joined(conversations[0]) if conversations else 0
        encoded = self._raw([text[: len(text) - blank] for text in texts])
        ids = dict(zip(different, map(self._ids, encoded), strict=True))
        return [ids[key] for key in keys]

    def _raw(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False).input_ids
        return ids

    def _joined(self, messages: Messages) -> int:
        """Characters of white space at a prompt's end that become a token with the answer's word.

        This is so of a template and a tokenizer, so any conversation will do to find it out.
        """
        if self._blank is None:
            [prompt] = self._render([_opening(messages)], add_generation_prompt=True)
            white = len(prompt) - len(prompt.rstrip())
            begun = [prompt[: len(prompt) - blank] for blank in range(white + 1)]
            answered, *parts = self._raw([f"{prompt}a", *begun])
            fits = (blank for blank, ids in enumerate(parts) if answered[: len(ids)] == ids)
            self._blank = next(fits, 0)
        return self._blank

    def _ids(self, ids: list[int]) -> npt.NDArray[np.int32]:
        array = np.array(ids, dtype=np.int32)
        return np.where(array == self._image, IMAGE_TOKEN_ID, array).astype(np.int32)

    def _render(self, conversations: Sequence[Messages], add_generation_prompt: bool) -> list[str]:
        texts: list[str] = self._tokenizer.apply_chat_template(
            list(conversations), tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return texts

    def _rendered(
        self, conversations: Sequence[Messages]
    ) -> tuple[list[str], list[list[tuple[int, int]]]]:
        """Texts, and the character spans of the assistant in each."""
        if self._marks_assistant:
            texts, spans = self._marked(conversations)
            # A template that knows no system turn may take it for one of the assistant's.
            led = [n for n, talk in enumerate(conversations) if talk[0]["role"] == "system"]
            _, wrong = self._marked([_opening(conversations[n]) for n in led])
            for n, before in zip(led, wrong, strict=True):
                spans[n] = spans[n][len(before) :]
            return texts, spans
        texts = self._render(conversations, add_generation_prompt=False)
        pairs = zip(texts, conversations, strict=True)
        return texts, [self._spans(text, messages) for text, messages in pairs]

    def _marked(
        self, conversations: Sequence[Messages]
    ) -> tuple[list[str], list[list[tuple[int, int]]]]:
        texts, spans = render_jinja_template(
            conversations=list(conversations),
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        return texts, spans

    def _spans(self, text: str, messages: Messages) -> list[tuple[int, int]]:
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        before = self._render([messages[:i] for i in turns], add_generation_prompt=True)
        after = self._render([messages[: i + 1] for i in turns], add_generation_prompt=False)
        for shorter in (*before, *after):
            if not text.startswith(shorter):
                raise UserError(
                    f"the chat template of {self.name} rewrites earlier turns; "
                    "mark what the assistant says in it with {% generation %}"
                )
        # White space that only parts one turn from the next is not something to learn.
        return [(len(a), len(b.rstrip())) for a, b in zip(before, after, strict=True)]


def cut(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int) -> str:
    """A text to be put into a prompt, without what would mark a turn or an image in it, up to so
    many tokens."""
    for special in (IMAGE, *tokenizer.all_special_tokens):
        text = text.replace(special, " ")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    return text if len(offsets) <= tokens else text[: offsets[tokens - 1][1]]


def _opening(messages: Messages) -> Messages:
    """What is said before the assistant's first turn."""
    roles = [message["role"] for message in messages]
    return messages[: roles.index("assistant")] if "assistant" in roles else messages


def _from_blank(text: str, spans: Sequence[tuple[int, int]], blank: int) -> list[tuple[int, int]]:
    """The spans, each from so many characters of white space before it, where there are any."""
    return [
        (start - blank if text[start - blank : start].isspace() else start, end)
        for start, end in spans
    ]


def _within(
    offsets: npt.NDArray[np.int64], spans: Sequence[tuple[int, int]]
) -> npt.NDArray[np.bool_]:
    """Which tokens, given as (T,2) character offsets, hold any of one of the ascending spans."""
    if not spans:
        return np.zeros(len(offsets), dtype=bool)
    starts, ends = np.array(spans).T
    span = np.searchsorted(starts, offsets[:, 1], side="left") - 1
    within = (span >= 0) & (offsets[:, 0] < ends[span]) & (offsets[:, 1] > offsets[:, 0])
    return np.asarray(within, dtype=bool)
