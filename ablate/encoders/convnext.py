"""ConvNeXt: the map of its fourth stage, without the head and its norm.

Shapes: B batch, C channels, H W grid.
Source: Liu et al. 2022; features as in EAGLE (Shi et al. 2024).
"""

from typing import ClassVar

from timm.models.convnext import ConvNeXt
from torch import Tensor

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Encoder, Names


class ConvNextEncoder(Encoder):
    """`architecture`: the arguments of timm's `ConvNeXt`."""

    published: ClassVar[Names] = {
        r"head\..*": None,
        r"((stem|stages)\..*)": r"\1",
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        model = ConvNeXt(num_classes=0, **spec.architecture)
        self.stem, self.stages = model.stem, model.stages

    def features(self, pixels: Tensor) -> Tensor:
        self.spec.patches(*pixels.shape[-2:])
        features = self.stem(pixels)
        for stage in self.stages:
            stage.grad_checkpointing = self.gradient_checkpointing
            features = stage(features)
        result: Tensor = features
        return result
