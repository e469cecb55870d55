"""Experts of a trained mixture masked: what they see of an image is replaced, and nothing else.

Masking as in Mao et al. 2026 (arXiv 2507.03262).

Shapes: I images, F values of all encoders' maps of an image, L visual tokens, D model width.
"""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ablate.data.collate import stack_images
from ablate.errors import UserError
from ablate.model.mixture import feature_size, features
from ablate.model.mllm import Mllm


class Masking:
    """A model whose experts can be masked, where it is.

    UserError where the fusion runs the base's blocks itself, or sees the question, and where images
    are cut into tiles.
    """

    def __init__(self, model: Mllm) -> None:
        fusion = model.spec.fusion["name"]
        if model.mixture.fusion.reaches_inside_base or model.sees_each_question:
            raise UserError(
                f"experts of fusion {fusion} cannot be masked: it needs more of an image than the "
                "features of each expert"
            )
        if model.tiles.cuts:
            raise UserError("experts of a model that cuts images into tiles cannot be masked yet")
        self._model = model
        sizes = [feature_size(encoder) for encoder in model.mixture.all_encoders]
        expert_of = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self._expert_of = expert_of.to(next(model.parameters()).device)  # (F,)

    @property
    def zeros(self) -> Tensor:
        """(F,): what stands in for the features of an image by default."""
        return torch.zeros(len(self._expert_of), device=self._expert_of.device)

    def features(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Tensor]:
        """(F,) of each image (3,H,W), as the mixture takes them in place of pixels."""
        pixels = stack_images(images).to(self._expert_of.device)
        every = [features(encoder, pixels) for encoder in self._model.mixture.all_encoders]
        return [*torch.cat(every, dim=1)]

    @torch.no_grad()
    def see(
        self, whole: Tensor, kept: Collection[int], stand_in: Tensor | None = None
    ) -> list[Tensor]:
        """The visual tokens (L,D) of images by their features (I,F), of which those of the experts
        `kept`, by number, stay; `stand_in` (F,), default zeros, takes the place of the others."""
        numbers = torch.tensor(sorted(kept), dtype=torch.int64, device=whole.device)
        instead = self.zeros if stand_in is None else stand_in
        stays = torch.isin(self._expert_of, numbers)
        return self._model.see(torch.where(stays, whole, instead.to(whole.dtype)))
