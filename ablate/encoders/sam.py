"""SAM's image encoder: windowed and global attention, relative positions, its pre-trained neck.

Shapes: B batch, C channels, H W grid.
Source: Kirillov et al. 2023. EAGLE replaces the neck by a random one; we keep it.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from ablate.encoders.base import Encoder, resample_positions
from ablate.encoders.spec import EncoderSpec


class SamEncoder(Encoder):
    """`architecture`: the arguments of `SamVisionConfig`; image_size is its position table's."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = SamVisionEncoder(SamVisionConfig(**spec.architecture))

    def features(self, pixels: Tensor) -> Tensor:
        rows, columns = self.spec.patches(*pixels.shape[-2:])
        table = self.model.pos_embed[0].flatten(0, 1)
        positions = resample_positions(table, (rows, columns), antialias=True)
        patches = self.model.patch_embed.projection(pixels).permute(0, 2, 3, 1)
        features = patches + positions.view(rows, columns, -1)
        for layer in self.model.layers:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                features = checkpoint(layer, features, use_reentrant=False)
            else:
                features = layer(features)
        result: Tensor = self.model.neck(features)
        return result
