"""EVA-02 as a detector's backbone: most blocks see windows, a few see the whole image.

Shapes: B batch, N tokens, C channels, w patches of a window's side, r x c windows.
Source: Fang et al. 2023, the backbone of its Cascade Mask R-CNN after Li et al. 2022 (ViTDet);
features as in EAGLE (Shi et al. 2024): the last block's tokens, without the feature pyramid.
"""

import dataclasses
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Names, cut_tiles, join_tiles
from ablate.encoders.eva02 import Eva02Encoder


class Eva02DetEncoder(Eva02Encoder):
    """`architecture`: window, global_blocks, and the arguments of timm's `Eva`.

    window: patches of its side; global_blocks: indices of those that see the whole image; img_size:
    the position table's; ref_feat_shape: the range its rotary positions were trained on.
    """

    family: ClassVar[str] = "eva02_det"
    published: ClassVar[Names] = {
        r"backbone\.net\.(rope_\w+|blocks\.\d+\.attn\.rope)\..*": None,  # recomputed
        r"backbone\.net\.(blocks\.\d+\.attn)\.(q|v)_bias": r"model.\1.\2_proj.bias",
        r"backbone\.net\.(blocks\.\d+\.mlp)\.w1\.(.*)": r"model.\1.fc1_g.\2",
        r"backbone\.net\.(blocks\.\d+\.mlp)\.w2\.(.*)": r"model.\1.fc1_x.\2",
        r"backbone\.net\.(blocks\.\d+\.mlp)\.w3\.(.*)": r"model.\1.fc2.\2",
        r"backbone\.net\.(blocks\.\d+\.mlp)\.ffn_ln\.(.*)": r"model.\1.norm.\2",
        r"backbone\.net\.(.*)": r"model.\1",
        r"(backbone\.simfp_\d|proposal_generator|roi_heads)\..*|pixel_(mean|std)": None,
    }

    def __init__(self, spec: EncoderSpec) -> None:
        options = dict(spec.architecture)
        window, whole = options.pop("window"), options.pop("global_blocks")
        super().__init__(dataclasses.replace(spec, architecture=options))
        self.spec, self.window, self.global_blocks = spec, int(window), frozenset(whole)
        table = self.model.pos_embed
        self.model.pos_embed = nn.Parameter(torch.cat([torch.zeros_like(table[:, :1]), table], 1))

    @property
    def positions(self) -> Tensor:
        table: Tensor = self.model.pos_embed[0, 1:]  # row 0: the pre-trained class token's
        return table

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if index in self.global_blocks:
            return super().block(index, tokens, grid)
        block = self.model.blocks[index]
        rope = self.model.rope.get_embed((self.window, self.window))
        attended = block.attn(self._cut(block.norm1(tokens), grid), rope=rope)
        tokens = tokens + self._join(attended, grid)
        output: Tensor = tokens + block.mlp(block.norm2(tokens))
        return output

    def _cut(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B,N,C) -> (B*r*c,w*w,C); windows that reach beyond the map are filled with zeros."""
        down, right = (-side % self.window for side in grid)
        image = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
        windows = cut_tiles(F.pad(image, (0, right, 0, down)), *self._counts(grid))
        return windows.flatten(2).transpose(1, 2)

    def _join(self, windows: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B*r*c,w*w,C) -> (B,N,C), what was filled left out."""
        tiles = windows.transpose(1, 2).reshape(len(windows), -1, self.window, self.window)
        image = join_tiles(tiles, *self._counts(grid))[:, :, : grid[0], : grid[1]]
        return image.flatten(2).transpose(1, 2)

    def _counts(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Windows in a column and in a row."""
        return ceil(grid[0] / self.window), ceil(grid[1] / self.window)


class Eva02DetAlignedEncoder(Eva02DetEncoder):
    """The detector's backbone, its image resized as the released EAGLE does."""

    family: ClassVar[str] = "eva02_det_aligned"
    aligned: ClassVar[bool] = True
