"""SigLIP's vision transformer: the patch tokens after the closing norm. It has no class token.

Shapes: B batch, N tokens, C channels.
Source: Zhai et al. 2023; the layer is that of Cambrian-1 (Tong et al. 2024). The pooling head is
left out.
"""

from typing import ClassVar

from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, Names, resample_positions


class SiglipEncoder(BlockEncoder):
    """`architecture`: the arguments of `SiglipVisionConfig`; image_size is its position table's."""

    family: ClassVar[str] = "siglip"
    published: ClassVar[Names] = {
        r"vision_model\.(head\..*|embeddings\.position_ids)": None,
        r"vision_model\.(.*)": r"model.\1",
        r"text_model\..*|logit_(scale|bias)": None,
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        config = SiglipVisionConfig(**spec.architecture, vision_use_head=False)
        self.model = SiglipVisionModel(config)
        self.num_blocks = len(self.model.encoder.layers)

    def embed(self, pixels: Tensor) -> Tensor:
        patches = self.model.embeddings.patch_embedding(pixels)
        table = self.model.embeddings.position_embedding.weight
        positions = resample_positions(table, patches.shape[-2:], antialias=False)
        tokens: Tensor = patches.flatten(2).transpose(1, 2) + positions
        return tokens

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.model.encoder.layers[index](tokens, None)
        return output

    def finish(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self.model.post_layernorm(tokens)
        return normed
