"""SAM's image encoder: windowed and global attention, relative positions, its pre-trained neck.

Shapes: B batch, C channels, H W grid.
Source: Kirillov et al. 2023. We keep the neck that was pre-trained with the encoder; the released
EAGLE (Shi et al. 2024) drops it and trains a shorter one from nothing: `SamShortEncoder`.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamLayerNorm, SamVisionEncoder

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Encoder, Names, resample_positions


class SamEncoder(Encoder):
    """`architecture`: the arguments of `SamVisionConfig`; image_size is its position table's."""

    family: ClassVar[str] = "sam"
    published: ClassVar[Names] = {
        r"vision_encoder\.(.*)": r"model.\1",
        r"(prompt_encoder|mask_decoder|shared_image_embedding)\..*": None,
    }

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


class SamShortEncoder(SamEncoder):
    """SAM as the released EAGLE runs it: its image resized as there, and with another neck.

    The neck is a 1x1 convolution without bias and a norm, both random.
    """

    family: ClassVar[str] = "sam_short"
    published: ClassVar[Names] = {r"vision_encoder\.neck\..*": None, **SamEncoder.published}
    fresh: ClassVar[tuple[str, ...]] = ("model.neck.",)
    aligned: ClassVar[bool] = True

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model.neck = ShortNeck(
            self.model.config.hidden_size, self.model.config.output_channels
        )


class ShortNeck(nn.Module):
    """(B,H,W,inputs) -> (B,outputs,H,W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
        self.norm = SamLayerNorm(outputs, data_format="channels_first")

    def forward(self, features: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(features.permute(0, 3, 1, 2)))
        return normed
