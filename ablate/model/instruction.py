"""What is asked about each image: the text of its turn before the answer, as it is embedded.

Shapes: B conversations, T text tokens, I images, D model width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch
from fusion_zoo import Instruction


def instructions(batch: Batch, embedded: Tensor) -> Instruction:
    """The instruction of each image, from the embedded text (B,T,D; anything where no text is).

    It is all that is not learnt in the turn that shows the image, so in training what a prompt
    holds in evaluation, where nothing is learnt. Left-aligned, whatever side is padded.
    """
    mask = instruction_mask(batch)
    longest = max(1, int(mask.sum(1).max())) if len(mask) else 1
    order = (~mask).int().argsort(dim=1, stable=True)[:, :longest]
    mask = mask.gather(1, order)
    tokens = embedded[batch.image_rows[:, None], order]
    return Instruction(tokens * mask[..., None], mask)


def instruction_mask(batch: Batch) -> Tensor:
    """(I,T) bool: which tokens of its row are the instruction of each image.

    An answer begins a turn, and with it the user's text behind it stands: so what is not learnt
    within a turn is what is said between two answers.
    """
    learnt = batch.labels != IGNORE_INDEX
    is_image = (batch.input_ids == IMAGE_TOKEN_ID) & batch.attention_mask
    before = torch.nn.functional.pad(learnt, (1, 0))[:, :-1]
    turn = (learnt & ~before).cumsum(1)
    rows, columns = is_image.nonzero(as_tuple=True)
    is_instruction = batch.attention_mask & ~learnt & ~is_image
    return (turn[rows] == turn[rows, columns][:, None]) & is_instruction[rows]


def repeated(context: Instruction | None, counts: Sequence[int]) -> Instruction | None:
    """The instruction of each image as often as it has views, or units."""
    if context is None:
        return None
    times = torch.tensor(counts, device=context.mask.device)
    return Instruction(*(field.repeat_interleave(times, dim=0) for field in context))
