"""Maps that annotators draw, through a small convolutional stem, as Prismer's (arXiv 2303.02506).

As in its released code four convolutions of 3x3 and stride 2, whose widths double up to the last's,
each with a norm and ReLU, then one of 1x1, all without bias. The norm is over all channels of an
image where Prismer's is a batch's, which would make a result hang on how batches are cut; and no
position is added, as fusions keep places.

Shapes: B images, K channels of a map, C width, S pixels a side.
"""

from typing import ClassVar

from torch import Tensor, nn

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Encoder


class MapEncoder(Encoder):
    """(B,K,S,S) what an annotator draws, in [0,1] -> (B,C,S/16,S/16)."""

    family: ClassVar[str] = "map"
    sees_drawn: ClassVar[bool] = True

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        inputs = self.channels = int(spec.architecture["channels"])
        layers: list[nn.Module] = []
        for share in (8, 4, 2, 1):
            outputs = spec.width // share
            layers += [
                nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False),
                nn.GroupNorm(1, outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        self.stem = nn.Sequential(*layers, nn.Conv2d(inputs, inputs, kernel_size=1, bias=False))

    def normalise(self, pixels: Tensor) -> Tensor:
        """As they are: a map has no mean of colours."""
        return pixels.to(next(self.parameters()).dtype)

    def features(self, pixels: Tensor) -> Tensor:
        self.spec.patches(*pixels.shape[-2:])
        features: Tensor = self.stem(pixels)
        return features
