"""What a model is fed.

Shapes: B batch (conversations), T tokens, I images in the batch, V views of them, H W pixels, F
values of an image's features.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

IMAGE_TOKEN_ID = -200
"""Stands at `<image>` in `input_ids`, once per image. Negative, so that no vocabulary has it."""

BETWEEN_ANSWERS = -300
"""Stands between the two conversations of a pair, where they are stored as one."""

IGNORE_INDEX = -100
"""The label of a token that is not learnt from (the index `cross_entropy` ignores)."""


@dataclass
class Batch:
    """Conversations of one forward pass, padded on the right (for generation: on the left).

    The k-th image of row b in reading order belongs to the k-th `IMAGE_TOKEN_ID` of that row; the
    images are sorted by row. A row may hold no image. An all-text batch has `pixels` (0,3,1,1).
    """

    pixels: Tensor
    """(I,3,H,W) uint8, RGB; or (I,F) float32, what frozen encoders made of them. Where images are
    cut into views, those of all of them, (V,3,H,W) or (V,F)."""
    image_rows: Tensor
    """(I,) int64, ascending: the row each image belongs to."""
    input_ids: Tensor
    """(B,T) int64, one `IMAGE_TOKEN_ID` at every `<image>`; padding has `attention_mask` False."""
    labels: Tensor
    """(B,T) int64, `IGNORE_INDEX` wherever nothing is learnt. Not shifted."""
    attention_mask: Tensor
    """(B,T) bool, True at real tokens."""
    sizes: Tensor | None = None
    """(I,2) int64: width and height of each image before it was cut; None where images are whole.
    It stays with the processor, which cuts."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on `device`."""
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=non_blocking)
            for field in fields(self)
            if field.name != "sizes"
        }
        return Batch(**moved, sizes=self.sizes)
