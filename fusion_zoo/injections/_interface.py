"""What every injection takes and gives.

B conversations, S tokens that the language model reads of each, D its width. An image has L visual
tokens, of which the first n stand in the context; the others are its media, M in all those of a
conversation. V: all visual tokens in the contexts of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class LinearShape(NamedTuple):
    """A linear layer of a block."""

    inputs: int
    outputs: int
    bias: bool


class Decoder(NamedTuple):
    """A language model, as far as an injection must know it."""

    width: int
    heads: int
    key_heads: int
    """Heads of keys and values, which several heads of queries may share."""
    head_width: int
    inner: int
    """The width inside a block's feed-forward layer."""
    eps: float
    """What its norms add before they divide."""
    blocks: tuple[Mapping[str, LinearShape], ...]
    """The linear layers of each block, by their names in it."""


class Seen(NamedTuple):
    """Where the visual tokens of a batch are, and which of them a token may see."""

    places: Tensor
    """(V,) the visual tokens in the contexts, image by image, among the B*S tokens."""
    images: tuple[Tensor, ...]
    """Of each image its media (L - n, D)."""
    media: Tensor
    """(B,M,D) the same by conversation, in the order of its images; zero behind them."""
    numbers: Tensor
    """(B,M) which image of its conversation, from 1, each of the media is of; beyond all of them
    where there is none."""
    begun: Tensor
    """(B,S) how many images begin before a token or with it; 0 at padding."""
    prompt: Tensor
    """(B,S) bool: what comes before the first answer; all of it where answers are generated."""

    def before(self) -> Tensor:
        """(B,S,M) bool: a token sees the media of all images that begin before it, or with it."""
        return self.numbers[:, None] <= self.begun[..., None]

    def latest(self) -> Tensor:
        """(B,S,M) bool: a token sees the media of the last such image alone."""
        return self.numbers[:, None] == self.begun[..., None]

    def next(self) -> Seen:
        """For one generated token of each conversation, behind all that was read."""
        last = self.begun[:, -1:]
        nowhere = self.places[:0]
        return self._replace(places=nowhere, begun=last, prompt=self.prompt[:, -1:] & False)


class Injection(nn.Module):
    """Changes what a language model makes of what it reads, at the places that it declares.

    A subclass calls `super().__init__(llm)` and says what it changes: `before` and `after` some of
    the blocks, `linear` layers of them, or the `two_way` part of the attention's mask. Parameters
    are of its own; those of the language model stay as they are. No parameter is a scalar.
    """

    reads_text: ClassVar[bool] = False
    """Whether it learns also from text without images."""
    runs: int = 1
    """Into how many runs an image's visual tokens are cut, of which the first stands in the
    context; 0: none of them stands there."""
    before_blocks: tuple[int, ...] = ()
    """The blocks whose input `before` changes."""
    after_blocks: tuple[int, ...] = ()
    """The blocks whose output `after` changes."""
    linears: tuple[tuple[int, str], ...] = ()
    """The linear layers, by block and name, whose output `linear` changes."""
    masks: bool = False
    """Whether `two_way` has something to say."""

    def __init__(self, llm: Decoder) -> None:
        super().__init__()
        self.llm = llm

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def context_tokens(self, tokens: int) -> int:
        """How many of an image's visual tokens stand in the context, the first of them.

        ValueError for a number of them that it cannot take.
        """
        if self.runs and tokens % self.runs:
            raise ValueError(f"{tokens} tokens of an image are not {self.runs} runs of one size")
        return tokens // self.runs if self.runs else 0

    def flops(self, tokens: int) -> int:
        """Operations with one image of so many visual tokens, 2 for each multiply-add.

        Without those of `token_flops`. What is counted is what a fusion counts.
        """
        return 0

    def token_flops(self, tokens: int) -> int:
        """Operations for one token that the language model reads, with one such image before it."""
        return 0

    def start(self, block: int, name: str, weight: Tensor, bias: Tensor | None) -> None:
        """Told the weights (outputs, inputs) of each of its `linears` before anything is trained.

        Where it is random otherwise, it draws from torch's generator in its constructor.
        """

    def before(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        """What a block is given in the place of `hidden` (B,S,D)."""
        raise NotImplementedError

    def after(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        """What a block gives in the place of `hidden` (B,S,D)."""
        raise NotImplementedError

    def linear(self, block: int, name: str, x: Tensor, y: Tensor, seen: Seen) -> Tensor:
        """What a linear layer gives in the place of y (B,S,outputs), for its input (B,S,inputs)."""
        raise NotImplementedError

    def two_way(self, seen: Seen) -> Tensor:
        """(B,S) bool: tokens that see each other whichever comes first; none of padding."""
        raise NotImplementedError


def every_nth(llm: Decoder, every: int, *, first: int) -> tuple[int, ...]:
    """The numbers of blocks from `first` on in steps of `every`; ValueError if there are none."""
    chosen = tuple(range(first, len(llm.blocks), every)) if every > 0 else ()
    if not chosen:
        raise ValueError(
            f"every is {every}, but there are {len(llm.blocks)} blocks; take 1 to {len(llm.blocks)}"
        )
    return chosen
