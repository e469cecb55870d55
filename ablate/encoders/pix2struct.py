"""Pix2Struct: flattened patches with row and column numbers, made on the tensors themselves.

Shapes: B batch, N tokens, C channels, H W grid, P pixels of a patch's side.
Source: Lee et al. 2023. Everything happens batched on the pixels' device and is differentiable.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Pix2StructVisionConfig, Pix2StructVisionModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import BlockEncoder, Names


class Pix2StructEncoder(BlockEncoder):
    """`architecture`: the arguments of `Pix2StructVisionConfig`."""

    family: ClassVar[str] = "pix2struct"
    published: ClassVar[Names] = {
        r"encoder\.(.*)": r"model.\1",
        r"decoder\..*": None,
    }

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.model = Pix2StructVisionModel(Pix2StructVisionConfig(**spec.architecture))
        self.num_blocks = len(self.model.encoder.layer)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Each image to mean 0 and deviation 1 over all its values, as the published processor."""
        pixels = pixels.float()
        deviation, mean = torch.std_mean(pixels, dim=(1, 2, 3), correction=0, keepdim=True)
        smallest = 1 / (255 * pixels[0].numel() ** 0.5)  # published for values up to 255
        scaled = (pixels - mean).div_(deviation.clamp(min=smallest))
        return scaled.to(next(self.parameters()).dtype)

    def embed(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = self.model.embeddings(self.flatten_patches(pixels))
        return tokens

    def flatten_patches(self, pixels: Tensor) -> Tensor:
        """(B,3,h,w) -> (B,N,2+3*P*P): row and column from 1, then the pixels, channel last."""
        size, (rows, columns) = self.spec.patch, self.spec.patches(*pixels.shape[-2:])
        target = (rows * size, columns * size)
        if pixels.shape[-2:] != target:
            resized = F.interpolate(pixels.float(), target, mode="bilinear", antialias=True)
            pixels = resized.to(pixels.dtype)
        patches = pixels.reshape(len(pixels), 3, rows, size, columns, size)
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        row, column = torch.meshgrid(
            torch.arange(1, rows + 1, device=pixels.device, dtype=pixels.dtype),
            torch.arange(1, columns + 1, device=pixels.device, dtype=pixels.dtype),
            indexing="ij",
        )
        places = torch.stack([row, column], dim=-1).flatten(0, 1)
        return torch.cat([places.expand(len(pixels), -1, -1), patches], dim=-1)

    def block(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        output: Tensor = self.model.encoder.layer[index](tokens)[0]
        return output

    def finish(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self.model.layernorm(tokens)
        return normed
