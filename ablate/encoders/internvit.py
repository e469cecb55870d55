"""InternViT: the last layer's patch tokens; it has no closing norm.

Shapes: B batch, N tokens, C channels.
Source: Chen et al. 2024 (InternVL 1.5). Layers of RMS norms, of queries and keys too, with learnt
scales, as transformers' vision class of InternVL has them under other names than the published.
The class token takes part in every layer and is dropped at the end.
"""

from typing import ClassVar

from torch import Tensor
from transformers import InternVLVisionConfig, InternVLVisionModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, Names

_LAYER = r"encoder\.layers\.(\d+)\."
_OURS = r"model.encoder.layer.\1."


class InternVitEncoder(BlockEncoder):
    """`architecture`: the arguments of `InternVLVisionConfig`; image_size: its position table's."""

    family: ClassVar[str] = "internvit"
    prefix: ClassVar[int] = 1
    published: ClassVar[Names] = {
        r"embeddings\.class_embedding": r"model.embeddings.cls_token",
        r"embeddings\.position_embedding": r"model.embeddings.position_embeddings",
        r"embeddings\.patch_embedding\.(.*)": r"model.embeddings.patch_embeddings.projection.\1",
        _LAYER + r"attn\.qkv\.(.*)": tuple(
            _OURS + rf"attention.{part}_proj.\2" for part in ("q", "k", "v")
        ),
        _LAYER + r"attn\.proj\.(.*)": _OURS + r"attention.projection_layer.\2",
        _LAYER + r"attn\.([qk]_norm\..*)": _OURS + r"attention.\2",
        _LAYER + r"(mlp\..*)": _OURS + r"\2",
        _LAYER + r"ls([12])": _OURS + r"lambda_\2",
        _LAYER + r"norm1\.(.*)": _OURS + r"layernorm_before.\2",
        _LAYER + r"norm2\.(.*)": _OURS + r"layernorm_after.\2",
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = InternVLVisionModel(InternVLVisionConfig(**spec.architecture))
        self.num_blocks = len(self.model.encoder.layer)

    def embed(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = self.model.embeddings(pixels)  # positions: bicubic
        return tokens

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.model.encoder.layer[index](tokens)
        return output
