"""What every encoder does: pixels in, one feature map out.

Shapes: B batch, N tokens, C channels, H W grid, S the encoder's resolution in pixels.
"""

from collections.abc import Collection, Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ablate.catalog.encoder_layers import dense_groups
from ablate.catalog.encoder_spec import STRIP, EncoderSpec
from ablate.encoders.published import load_published
from ablate.errors import UserError
from fusion_zoo import BlockwiseBase, FeatureMap, MapShape

Names = Mapping[str, str | tuple[str, ...] | None]
"""How names of published tensors become an encoder's: see `Encoder.published`."""


class Encoder(nn.Module):
    """An encoder owns its normalisation, position interpolation, select layer and unshuffle.

    A family defines `features`, one with stages `levels` too. `gradient_checkpointing` (default
    False) recomputes each block in the backward pass instead of keeping its activations.
    """

    family: ClassVar[str]
    """What specs call it; a class in this folder is found by saying it, as a literal."""

    revision: ClassVar[int] = 1
    """Raised, in a family of ours, by a change that makes other features of the same pixels and
    weights, or other random weights: what was trained with an earlier one is then trained anew."""

    published: ClassVar[Names] = {r"(.*)": r"\1"}
    """What the tensors of published weights are called here, by pattern of their whole name; the
    first that fits holds. Several names: the tensor is cut into so many equal parts, along its
    first axis. None: it is left out on purpose."""

    fresh: ClassVar[tuple[str, ...]] = ()
    """How the names of tensors begin that no published weights hold: they start at random."""

    aligned: ClassVar[bool] = False
    """Whether it sees an image resized corner to corner and without antialiasing, as all do in the
    released EAGLE; otherwise at half-pixel centres, antialiased."""

    gradient_checkpointing: bool = False

    sees_drawn: ClassVar[bool] = False
    """Whether it looks at maps that annotators drew, and not at an image's colours."""

    channels: int = 3
    """Of what it looks at."""

    first_channel: int = 0
    """Where these begin in what a mixture is shown: colours, behind them the maps."""

    num_blocks: int
    """Of a family with blocks of one width and grid: what `layer` and `dense` of a spec count."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)

    @property
    def shape(self) -> MapShape:
        """The feature map's shape at the spec's resolution."""
        return MapShape(self.spec.width, *self.spec.grid)

    @property
    def shapes(self) -> list[MapShape]:
        """The shapes of `maps` at the spec's resolution."""
        return [MapShape(*shape) for shape in self.spec.maps]

    def forward(self, pixels: Tensor) -> FeatureMap:
        """(B,3,S,S) pixels in [0,1] -> (B,C,H,W); any other size its patches divide will do."""
        return self.maps(pixels)[0]

    def maps(self, pixels: Tensor) -> list[FeatureMap]:
        """Of the same pixels its own map, then the others that its spec says."""
        normed, tile = self.normalise(pixels), self.spec.tile
        if tile is None:
            by_level = self.levels(normed)
        else:
            self.spec.patches(*pixels.shape[-2:])
            rows, columns = pixels.shape[-2] // tile, pixels.shape[-1] // tile
            levels = self.levels(cut_tiles(normed, rows, columns))
            by_level = [join_tiles(level, rows, columns) for level in levels]
        coarsest, *finer = by_level
        return [
            FeatureMap(F.pixel_unshuffle(coarsest, self.spec.unshuffle)),
            *map(FeatureMap, finer),
        ]

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels in [0,1] as the encoder was trained on them, in its own precision."""
        scaled = (pixels.float() - self.get_buffer("mean")).div_(self.get_buffer("std"))
        return scaled.to(next(self.parameters()).dtype)

    def features(self, pixels: Tensor) -> Tensor:
        """(B,3,h,w) normalised pixels -> (B,C,H,W), before the unshuffle."""
        raise NotImplementedError

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """`features`, then the finer maps of the spec's pyramid; a family with stages defines it.

        UserError if the spec asks for a pyramid and the family has none.
        """
        if self.spec.pyramid:
            raise UserError(
                f"encoder '{self.spec.title}': family '{self.spec.family}' has no stages to make "
                "a pyramid of; ConvNeXt has"
            )
        return self._dense(pixels) if self.spec.dense else [self.features(pixels)]

    def _dense(self, pixels: Tensor) -> list[Tensor]:
        """Its own map with those of earlier blocks, in it or beside it (Dense Connector)."""
        groups = dense_groups(self.num_blocks, self.spec.dense)
        last, states = self.states(pixels, {number for group in groups for number in group})
        means = [torch.stack([states[n] for n in group]).mean(dim=0) for group in groups]
        if self.spec.dense == "sti":
            return [last, *(F.avg_pool2d(mean, (1, STRIP)) for mean in means)]
        return [torch.cat([last, *means], dim=1)]

    def states(self, pixels: Tensor, wanted: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Its own map of (B,3,h,w) normalised pixels, and those after so many blocks, as they are.

        0: what enters the first block.
        """
        raise NotImplementedError

    def load_published(self, path: Path, sha256: str | None = None) -> None:
        """Fill it with published weights; UserError if they are not its own, to the last tensor."""
        load_published(self, path, sha256)

    def blockwise(self, pixels: Tensor) -> BlockwiseBase:
        """The encoder's blocks, one by one, for a fusion that reaches inside it."""
        raise UserError(
            f"encoder '{self.spec.title}' cannot be the base of a fusion that reaches inside "
            "it: take a plain vision transformer, as clip"
        )


class BlockEncoder(Encoder):
    """A vision transformer: `embed`, then `num_blocks` blocks over a token sequence, then `finish`.

    The sequence is `prefix` special tokens, then one token a patch, row by row.
    """

    prefix: ClassVar[int] = 0

    def embed(self, pixels: Tensor) -> Tensor:
        """(B,3,h,w) normalised pixels -> (B,prefix+N,C), what enters block 0."""
        raise NotImplementedError

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Block `index` on (B,prefix+N,C)."""
        raise NotImplementedError

    def finish(self, tokens: Tensor) -> Tensor:
        """What the encoder does after its last block, on (B,prefix+N,C); nothing by default."""
        return tokens

    def run(self, tokens: Tensor, grid: tuple[int, int], first: int, last: int) -> Tensor:
        """Blocks first..last-1, and `finish` if the last block of all is among them."""
        for index in range(first, last):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(self.block, index, tokens, grid, use_reentrant=False)
            else:
                tokens = self.block(index, tokens, grid)
        return self.finish(tokens) if last == self.num_blocks > first else tokens

    def features(self, pixels: Tensor) -> Tensor:
        grid = self.spec.patches(*pixels.shape[-2:])
        return self._map(self.run(self.embed(pixels), grid, 0, self._last), grid)

    def states(self, pixels: Tensor, wanted: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        grid = self.spec.patches(*pixels.shape[-2:])
        tokens, by_layer = self.embed(pixels), {}
        for number in range(self._last):
            if number in wanted:
                by_layer[number] = self._map(tokens, grid)
            tokens = self.run(tokens, grid, number, number + 1)
        last = self._map(tokens, grid)
        return last, {**by_layer, **({self._last: last} if self._last in wanted else {})}

    @property
    def _last(self) -> int:
        """After how many blocks its own map is taken."""
        return self.num_blocks if self.spec.layer is None else self.spec.layer

    def _map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B,prefix+N,C) -> (B,C,H,W)."""
        return tokens[:, self.prefix :].transpose(1, 2).reshape(len(tokens), -1, *grid)

    def blockwise(self, pixels: Tensor) -> BlockwiseBase:
        spec = self.spec
        reasons = {
            "its map is unshuffled, its tokens are on a finer grid": spec.unshuffle > 1,
            "it sees the image tile by tile": spec.tile,
            "its map is not that of its last block alone": spec.layer is not None or spec.dense,
        }
        for why in (why for why, holds in reasons.items() if holds):
            raise UserError(
                f"encoder '{spec.title}' cannot be the base of a fusion that reaches inside "
                f"it: {why}"
            )
        return BoundBlocks(self, self.normalise(pixels))


class BoundBlocks:
    """A `BlockEncoder` bound to a batch of pixels, with its special tokens kept out of sight.

    `run(start(), 0, num_blocks)` are the tokens of the encoder's own feature map.
    """

    def __init__(self, encoder: BlockEncoder, pixels: Tensor) -> None:
        self.num_blocks = encoder.num_blocks
        self.grid = encoder.spec.patches(*pixels.shape[-2:])
        self._encoder, self._pixels = encoder, pixels
        # By the block they enter: a call with the same arguments gives the same result.
        self._prefixes: dict[int, Tensor] = {}

    def start(self) -> Tensor:
        """(B,N,C) tokens entering block 0."""
        return self._split(self._encoder.embed(self._pixels), 0)

    def run(self, tokens: Tensor, first: int, last: int) -> Tensor:
        """Blocks first..last-1 on (B,N,C), to be called in the order of the blocks."""
        tokens = torch.cat([self._prefixes[first], tokens], dim=1)
        return self._split(self._encoder.run(tokens, self.grid, first, last), last)

    def _split(self, tokens: Tensor, block: int) -> Tensor:
        prefix = self._encoder.prefix
        self._prefixes[block] = tokens[:, :prefix]
        return tokens[:, prefix:]


def cut_tiles(image: Tensor, rows: int, columns: int) -> Tensor:
    """(B,C,H,W) cut into rows x columns equal tiles, row by row -> (B*rows*columns,C,h,w)."""
    _, channels, height, width = image.shape
    h, w = height // rows, width // columns
    tiles = image.reshape(-1, channels, rows, h, columns, w).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(-1, channels, h, w)


def join_tiles(tiles: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `cut_tiles`: (B*rows*columns,C,h,w) -> (B,C,H,W)."""
    _, channels, h, w = tiles.shape
    image = tiles.reshape(-1, rows, columns, channels, h, w).permute(0, 3, 1, 4, 2, 5)
    return image.reshape(-1, channels, rows * h, columns * w)


def resample_positions(table: Tensor, grid: Sequence[int], *, antialias: bool) -> Tensor:
    """A square position table (N,C), row by row, resampled to `grid` (H,W) -> (H*W,C).

    Bicubic with half-pixel centres, in float32 whatever the table's precision. Unchanged where the
    grid is the table's own.
    """
    side = isqrt(len(table))
    if tuple(grid) == (side, side):
        return table
    image = table.float().T.reshape(1, -1, side, side)
    # Rows, then columns: in one pass torch 2.15 repeats the first row of a map one column wide.
    rows = F.interpolate(image, size=(grid[0], side), mode="bicubic", antialias=antialias)
    resized = F.interpolate(rows, size=tuple(grid), mode="bicubic", antialias=antialias)
    return resized.flatten(2)[0].T.to(table.dtype)
