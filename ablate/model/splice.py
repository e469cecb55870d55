"""Visual tokens put in place of `<image>`, for a whole batch at once.

Shapes: B conversations, T text tokens, I images, L visual tokens of all of them, D model width, S
the longest spliced sequence.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ablate.data.batch import IGNORE_INDEX


class SpliceLayout(NamedTuple):
    """Where everything goes in the spliced batch, whose rows are flattened into B*S places."""

    text: Tensor
    """(B,T) bool: real tokens that are text."""
    text_places: Tensor
    """The place of each of those, row by row."""
    visual_places: Tensor
    """(L,) the place of each visual token."""
    mask: Tensor
    """(B,S) bool: real tokens of the spliced sequences."""
    image_columns: Tensor
    """(I,) where in its row each image begins, though it may take no token there."""

    def embeddings(self, text: Tensor, visual: Tensor) -> Tensor:
        """Embedded text (all real text tokens, D) and (L,D) visual tokens -> (B,S,D)."""
        spliced = text.new_zeros(self.mask.numel(), text.shape[-1])
        spliced = spliced.index_copy(0, self.text_places, text)
        spliced = spliced.index_copy(0, self.visual_places, visual.to(text.dtype))
        return spliced.view(*self.mask.shape, text.shape[-1])

    def labels(self, labels: Tensor) -> Tensor:
        """(B,T) labels -> (B,S); nothing is learnt at visual tokens and padding."""
        spliced = labels.new_full((self.mask.numel(),), IGNORE_INDEX)
        return spliced.index_copy(0, self.text_places, labels[self.text]).view_as(self.mask)


def splice_layout(
    is_image: Tensor, mask: Tensor, visual_tokens: Tensor, *, pad_left: bool
) -> SpliceLayout:
    """Lay out a batch whose k-th `<image>` becomes `visual_tokens[k]` tokens, (I,) int64.

    is_image, mask: (B,T) bool, `<image>` and real tokens. Whatever side the batch is padded on, the
    spliced one is padded on the right, or with `pad_left` on the left.
    """
    image = mask & is_image
    widths = mask.long()
    widths[image] = visual_tokens
    ends = widths.cumsum(1)
    lengths = ends[:, -1:]
    longest = int(lengths.max())
    steps = torch.arange(longest, device=mask.device)
    shift = longest - lengths if pad_left else torch.zeros_like(lengths)
    rows = torch.arange(len(mask), device=mask.device)[:, None] * longest
    columns = shift + ends - widths
    starts = rows + columns
    text = mask & ~is_image
    before = visual_tokens.cumsum(0) - visual_tokens
    visual = (starts[image] - before).repeat_interleave(visual_tokens)
    visual = visual + torch.arange(len(visual), device=mask.device)
    real = steps >= shift if pad_left else steps < lengths
    return SpliceLayout(text, starts[text], visual, real, columns[image])
