"""ConvNeXt: the map of its fourth stage, without the head and its norm; if asked, those before it.

Shapes: B batch, C channels, H W grid.
Source: Liu et al. 2022; features as in EAGLE (Shi et al. 2024), the pyramid of stages as in
Mini-Gemini (Li et al. 2024).
"""

from typing import ClassVar

from torch import Tensor

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Encoder, Names
from ablate.encoders.networks import ConvNeXt
from ablate.errors import UserError


class ConvNextEncoder(Encoder):
    """`architecture`: the arguments of timm's `ConvNeXt`."""

    family: ClassVar[str] = "convnext"
    published: ClassVar[Names] = {
        r"head\..*": None,
        r"((stem|stages)\..*)": r"\1",
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        widths = reversed(spec.architecture["dims"][:-1])
        stages = [(spec.patch >> n, width) for n, width in enumerate(widths, start=1)]
        for stage in spec.pyramid:
            if stage not in stages:
                raise UserError(
                    f"encoder '{spec.title}': no stage of (stride, channels) {stage}; "
                    f"it has {stages}"
                )
        model = ConvNeXt(num_classes=0, **spec.architecture)
        self.stem, self.stages = model.stem, model.stages

    def features(self, pixels: Tensor) -> Tensor:
        return self._stages(pixels)[-1]

    def levels(self, pixels: Tensor) -> list[Tensor]:
        stages = self._stages(pixels)
        strides = [self.spec.patch >> n for n in range(len(stages))]  # the coarsest first
        by_stride = dict(zip(strides, reversed(stages), strict=True))
        return [stages[-1], *(by_stride[stride] for stride, _ in self.spec.pyramid)]

    def _stages(self, pixels: Tensor) -> list[Tensor]:
        """The map of each stage, the finest first."""
        self.spec.patches(*pixels.shape[-2:])
        levels = [self.stem(pixels)]
        for stage in self.stages:
            stage.grad_checkpointing = self.gradient_checkpointing
            levels.append(stage(levels[-1]))
        return levels[1:]
