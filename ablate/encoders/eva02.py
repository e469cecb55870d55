"""EVA-02: rotary and absolute positions, SwiGLU; the last block's tokens, no class token, no norm.

Shapes: B batch, N tokens, C channels, H W grid.
Source: Fang et al. 2023; features as in EAGLE (Shi et al. 2024): absolute positions bicubic without
antialiasing, rotary ones stretched to the trained range.
"""

from typing import ClassVar

from torch import Tensor, nn

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, resample_positions
from ablate.encoders.networks import Eva


class Eva02Encoder(BlockEncoder):
    """`architecture`: the arguments of timm's `Eva`; img_size is its position table's."""

    family: ClassVar[str] = "eva02"

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = Eva(
            **spec.architecture,
            num_classes=0,
            class_token=False,
            global_pool="",
            dynamic_img_size=True,
        )
        self.model.norm = nn.Identity()
        self.num_blocks = len(self.model.blocks)

    @property
    def positions(self) -> Tensor:
        """(N,C) the absolute positions, row by row of a square."""
        table: Tensor = self.model.pos_embed[0]
        return table

    def embed(self, pixels: Tensor) -> Tensor:
        patches = self.model.patch_embed(pixels)  # (B,H,W,C)
        positions = resample_positions(self.positions, patches.shape[1:3], antialias=False)
        tokens: Tensor = patches.flatten(1, 2) + positions
        return tokens

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.model.blocks[index](tokens, rope=self.model.rope.get_embed(grid))
        return output
