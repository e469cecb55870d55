"""CLIP's vision transformer: all layers, no closing norm, the class token dropped at the entrance.

Shapes: B batch, N tokens, C channels.
Source: Radford et al. 2021; features as in EAGLE (Shi et al. 2024), which drops the class token
after the positions are added and before the first norm.
"""

from typing import ClassVar

from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, Names, resample_positions


class ClipEncoder(BlockEncoder):
    """`architecture`: the arguments of `CLIPVisionConfig`; image_size is its position table's."""

    family: ClassVar[str] = "clip"
    published: ClassVar[Names] = {
        r"vision_model\.embeddings\.(class_embedding|position_ids)": None,
        r"vision_model\.post_layernorm\..*": None,
        r"vision_model\.(.*)": r"model.\1",
        r"text_model\..*|logit_scale|(visual|text)_projection\.weight": None,
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = CLIPVisionModel(CLIPVisionConfig(**spec.architecture))
        del self.model.embeddings.class_embedding
        self.model.post_layernorm = nn.Identity()
        self.num_blocks = len(self.model.encoder.layers)

    def embed(self, pixels: Tensor) -> Tensor:
        patches = self.model.embeddings.patch_embedding(pixels)
        table = self.model.embeddings.position_embedding.weight[1:]  # row 0: the class token's
        positions = resample_positions(table, patches.shape[-2:], antialias=True)
        tokens: Tensor = self.model.pre_layrnorm(patches.flatten(2).transpose(1, 2) + positions)
        return tokens

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        # transformers >= 5: a layer returns its tensor, not a tuple.
        output: Tensor = self.model.encoder.layers[index](tokens, None)
        return output


class ClipAlignedEncoder(ClipEncoder):
    """CLIP, its image resized as the released EAGLE does."""

    family: ClassVar[str] = "clip_aligned"
    aligned: ClassVar[bool] = True
