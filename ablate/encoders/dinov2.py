"""DINOv2: the patch tokens after the closing norm.

Shapes: B batch, N tokens, C channels.
Sources: Oquab et al. 2023; registers: Darcet et al. 2024. The class token and the registers take
part in every block and are dropped at the end.
"""

from typing import ClassVar

from torch import Tensor
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, Names


class Dinov2Encoder(BlockEncoder):
    """`architecture`: the arguments of `Dinov2Config`; image_size is its position table's."""

    family: ClassVar[str] = "dinov2"
    prefix: ClassVar[int] = 1
    published: ClassVar[Names] = {
        r"embeddings\.mask_token": None,
        r"(.*)\.attention\.attention\.(q|k|v)[a-z]+\.(.*)": r"model.\1.attention.\2_proj.\3",
        r"(.*)\.attention\.output\.dense\.(.*)": r"model.\1.attention.o_proj.\2",
        r"((embeddings|encoder|layernorm)\..*)": r"model.\1",
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = self.upstream(spec)
        self.num_blocks = len(self.model.encoder.layer)

    @staticmethod
    def upstream(spec: EncoderSpec) -> Dinov2Model | Dinov2WithRegistersModel:
        """The model that `architecture` describes."""
        return Dinov2Model(Dinov2Config(**spec.architecture))

    def embed(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = self.model.embeddings(pixels)  # positions: bicubic, float32
        return tokens

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.model.encoder.layer[index](tokens)
        return output

    def finish(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self.model.layernorm(tokens)
        return normed


class Dinov2RegistersEncoder(Dinov2Encoder):
    """`architecture`: the arguments of `Dinov2WithRegistersConfig`; it has four registers."""

    family: ClassVar[str] = "dinov2_registers"
    prefix: ClassVar[int] = 1 + 4

    @staticmethod
    def upstream(spec: EncoderSpec) -> Dinov2Model | Dinov2WithRegistersModel:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**spec.architecture))
        model.embeddings.mask_token = None  # masks nothing, and would get no gradient
        return model
