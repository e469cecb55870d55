"""CLIP's vision transformer as LLaVA looks through it: the class token takes part in every block,
is dropped at the end, and the last block is left out.

Shapes: B batch, N tokens, C channels.
Source: Liu et al. 2023, LLaVA-1.5 (`mm_vision_select_layer` -2, `patch`). A mixture of it alone can
be exported as transformers' own LLaVA.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, Names, resample_positions


class ClipLlavaEncoder(BlockEncoder):
    """`architecture`: the arguments of `CLIPVisionConfig`, without the block that is left out."""

    family: ClassVar[str] = "clip_llava"
    prefix: ClassVar[int] = 1
    published: ClassVar[Names] = {
        r"vision_model\.embeddings\.position_ids": None,
        r"vision_model\.post_layernorm\..*": None,
        r"vision_model\.encoder\.layers\.23\..*": None,
        r"vision_model\.(.*)": r"model.\1",
        r"text_model\..*|logit_scale|(visual|text)_projection\.weight": None,
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = CLIPVisionModel(CLIPVisionConfig(**spec.architecture))
        self.model.post_layernorm = nn.Identity()
        self.num_blocks = len(self.model.encoder.layers)

    def embed(self, pixels: Tensor) -> Tensor:
        patches = self.model.embeddings.patch_embedding(pixels)
        table = self.model.embeddings.position_embedding.weight
        places = resample_positions(table[1:], patches.shape[-2:], antialias=True)
        first = self.model.embeddings.class_embedding.expand(len(pixels), 1, -1)
        tokens = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        entering: Tensor = self.model.pre_layrnorm(tokens + torch.cat([table[:1], places]))
        return entering

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.model.encoder.layers[index](tokens, None)
        return output
