"""What every fusion takes and gives.

B batch, N tokens, C channels, H W grid. Tokens are row-major: index = y * W + x.
Of the language model: D width, T tokens of an instruction, S tokens it reads, M media tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MapShape(NamedTuple):
    """The shape of an encoder's map, without the batch."""

    channels: int
    height: int
    width: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def tokens(self) -> int:
        return self.height * self.width


class Segment(NamedTuple):
    """A run of output tokens of one width."""

    tokens: int
    channels: int


class FeatureMap(NamedTuple):
    """An encoder's features: tensor (B,C,H,W)."""

    tensor: Tensor

    @property
    def shape(self) -> MapShape:
        _, channels, height, width = self.tensor.shape
        return MapShape(channels, height, width)

    def tokens(self) -> Tensor:
        """(B, H*W, C)."""
        return self.tensor.flatten(2).transpose(1, 2)

    @classmethod
    def from_tokens(cls, tokens: Tensor, grid: tuple[int, int]) -> FeatureMap:
        """The map of tokens (B, H*W, C) on a grid (H, W)."""
        return cls(tokens.transpose(1, 2).reshape(len(tokens), -1, *grid))


class LanguageShape(NamedTuple):
    """The language model, as far as a fusion that has to do with it must know it."""

    width: int
    blocks: int


class Instruction(NamedTuple):
    """What is asked about each image, embedded as the language model reads it.

    All that is said to it before the answer, without images: the user's text and what the chat
    template puts around it; never the answer. There may be none: a caption is not asked for.
    """

    tokens: Tensor
    """(B,T,D), zero where `mask` is False."""
    mask: Tensor
    """(B,T) bool, True at real tokens, which come first."""

    def pooled(self) -> Tensor:
        """(B,D) the mean of the tokens; zero where there is none."""
        return self.tokens.sum(dim=1) / self.mask.sum(dim=1, keepdim=True).clamp(min=1)


class BlockwiseBase(Protocol):
    """The base encoder's blocks, bound to a batch of pixels, for a fusion that reaches inside."""

    grid: tuple[int, int]
    num_blocks: int

    def start(self) -> Tensor:
        """Tokens (B,N,C) that enter block 0."""

    def run(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Tokens (B,N,C) after blocks first .. last - 1."""


class Fusion(nn.Module):
    """Feature maps in, token sequences out.

    A subclass calls `super().__init__(shapes, grid)`, sets `segments` and defines `flops` and
    `forward`. `shapes` are the maps' it will be given, the base's first; `grid` is the (H, W) of
    the tokens it gives. With the base alone every fusion hands on the base's tokens, unless it
    asks or injects. No parameter is a scalar: FSDP cannot share one out.

    - One whose constructor is `(shapes, grid, llm, *, options)` is told the `LanguageShape`.
    - `asks_instruction`: its `forward` takes `context`, the `Instruction` of each image, too. What
      it gives of an image then differs by question, so an evaluation encodes each image anew.
    - `grows`: whether, given further maps, its tokens are those without them with more channels
      behind, and it has no parameters: so a mixture may begin as a smaller one.
    - `names_experts`: the language model is asked which experts are to look at an image, before
      they do. It reads what the fusion makes of the base alone, the instruction, and `question`
      (Q,D); `scores` then tells of what it has read how much each expert helps, and `named` which
      are chosen. `forward` takes these as `chosen`, (B,E) bool, too; None: all of them. Maps of
      the others are zero, and make no difference.
    - `injects`: the numbers of the language model's blocks before which its `inject` changes what
      they are given. `forward` gives the `media` last, tokens that only `inject` sees: they take no
      room in the language model's context. `segments` may be empty then.
    """

    reaches_inside_base: ClassVar[bool] = False
    asks_instruction: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    names_experts: ClassVar[bool] = False
    segments: tuple[Segment, ...]
    media: Segment | None = None
    injects: tuple[int, ...] = ()

    def __init__(self, shapes: Sequence[MapShape], grid: tuple[int, int]) -> None:
        super().__init__()
        self.shapes = tuple(MapShape(*shape) for shape in shapes)
        self.grid = (grid[0], grid[1])
        if not self.shapes:
            raise ValueError("a fusion needs at least one map")
        if min(*self.grid, *(side for shape in self.shapes for side in shape)) < 1:
            raise ValueError(f"a side below 1: grid {self.grid}, maps {self.shapes}")

    @property
    def num_tokens(self) -> int:
        """Tokens an image becomes."""
        return sum(segment.tokens for segment in self.segments)

    @property
    def grids(self) -> tuple[tuple[int, int] | None, ...]:
        """The (H, W) of each segment's tokens, row-major; None for one that has no such places.

        By default `grid` wherever a segment has as many tokens.
        """
        height, width = self.grid
        return tuple(self.grid if n == height * width else None for n, _ in self.segments)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops(self) -> int:
        """Operations of one image's forward pass, 2 for each multiply-add.

        Counts linear and convolution layers, attention products, and interpolation (8 for each
        value: four corners). Norms, activations, softmax, pooling and additions are left out.
        """
        raise NotImplementedError

    @property
    def most_named(self) -> int:
        """How many experts are named at most, of one that `names_experts`."""
        raise NotImplementedError

    def named_flops(self) -> int:
        """Operations where so many are named, the dearest: with them, and of the base alone before;
        `scores`, too."""
        raise NotImplementedError

    def question(self) -> Tensor:
        """(Q,D) what the language model reads last, before it names experts."""
        raise NotImplementedError

    def scores(self, reading: Tensor) -> Tensor:
        """(B,E) above 0 where an expert helps, of the language model's last state (B,D)."""
        raise NotImplementedError

    def named(self, scores: Tensor) -> Tensor:
        """(B,E) bool: the experts that are chosen by their scores."""
        raise NotImplementedError

    def token_flops(self) -> int:
        """Operations of all its injections for one token that the language model reads."""
        return 0

    def notes(self) -> list[str]:
        """What a reader of its scores must know of this set-up, a sentence each; none by default.

        For what the maps' shapes or the options leave without effect. A plan, the start of a run,
        the table and the report show it.
        """
        return []

    def __call__(
        self,
        maps: Sequence[FeatureMap],
        base: BlockwiseBase | None = None,
        context: Instruction | None = None,
        chosen: Tensor | None = None,
    ) -> list[Tensor]:
        """What `forward` gives. ValueError unless the maps are of the shapes it was built for."""
        self._check(maps)
        more: dict[str, Any] = {"context": context} if self.asks_instruction else {}
        if self.names_experts:
            more["chosen"] = chosen
        if self.asks_instruction and context is None:
            raise ValueError(f"{type(self).__name__} asks for the instruction of each image")
        tokens: list[Tensor] = super().__call__(maps, base, **more)
        return tokens

    def forward(
        self, maps: Sequence[FeatureMap], base: BlockwiseBase | None = None
    ) -> list[Tensor]:
        """(B, tokens, channels) for each segment, and for the media if there are any.

        `maps` follow `shapes`, which was checked. When `reaches_inside_base`, `base` is given and
        maps[0] never looked at; else `base` is ignored.
        """
        raise NotImplementedError

    def inject(self, block: int, hidden: Tensor, media: Tensor, visible: Tensor) -> Tensor:
        """What a block of the language model is given in the place of `hidden` (B,S,D).

        block: its number, one of `injects`; media (B,M,C): of all images of each conversation, in
        their order; visible (B,S,M) bool: a token sees the images before it. One that sees none
        is to be left as it is. A generated token comes alone (S is 1), and sees all.
        """
        raise NotImplementedError

    def _check(self, maps: Sequence[FeatureMap]) -> None:
        if len(maps) != len(self.shapes):
            raise ValueError(f"built for {len(self.shapes)} maps, given {len(maps)}")
        for number in range(int(self.reaches_inside_base), len(maps)):
            given, shape = maps[number].shape, self.shapes[number]
            if given != shape:
                raise ValueError(f"map {number}: built for {shape}, given {given}")


def resize_map(
    x: Tensor,
    size: tuple[int, int],
    *,
    mode: str = "bilinear",
    align_corners: bool,
    antialias: bool = False,
) -> Tensor:
    """A map (B,C,H,W) interpolated to `size`, in fp32 at least, and back to its dtype.

    A map that already has the size is handed on untouched.
    """
    if x.shape[-2:] == size:
        return x
    resized = F.interpolate(
        at_least_fp32(x), size, mode=mode, align_corners=align_corners, antialias=antialias
    )
    return resized.to(x.dtype)


def resize_flops(shape: MapShape, size: tuple[int, int]) -> int:
    """Operations of `resize_map`: four corners, each a multiply-add, for every value made."""
    return 0 if shape.grid == size else 8 * size[0] * size[1] * shape.channels


def at_least_fp32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def norm_linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, outputs))
