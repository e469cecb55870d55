"""Visual tokens put in place of `<image>`, for a whole batch at once.

Shapes: B conversations, T text tokens, I images, L visual tokens of all of them, D model width, S
the longest spliced sequence, R rows of them: one a conversation, or a single one that is packed,
which holds all conversations end to end, and has no padding.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ablate.data.batch import IGNORE_INDEX


class SpliceLayout(NamedTuple):
    """Where everything goes in the spliced batch, whose rows are flattened into R*S places."""

    text: Tensor
    """(B,T) bool: real tokens that are text."""
    text_places: Tensor
    """The place of each of those, row by row."""
    visual_places: Tensor
    """(L,) the place of each visual token."""
    mask: Tensor
    """(R,S) bool: real tokens of the spliced sequences."""
    image_columns: Tensor
    """(I,) where in its conversation each image begins, though it may take no token there."""
    lengths: Tensor
    """(B,) tokens of each spliced conversation."""

    def embeddings(self, text: Tensor, visual: Tensor) -> Tensor:
        """Embedded text (all real text tokens, D) and (L,D) visual tokens -> (R,S,D)."""
        spliced = text.new_zeros(self.mask.numel(), text.shape[-1])
        spliced = spliced.index_copy(0, self.text_places, text)
        spliced = spliced.index_copy(0, self.visual_places, visual.to(text.dtype))
        return spliced.view(*self.mask.shape, text.shape[-1])

    def labels(self, labels: Tensor) -> Tensor:
        """(B,T) labels -> (R,S); nothing is learnt at visual tokens and padding."""
        spliced = labels.new_full((self.mask.numel(),), IGNORE_INDEX)
        return spliced.index_copy(0, self.text_places, labels[self.text]).view_as(self.mask)

    def targets(self, labels: Tensor) -> Tensor:
        """(B,T) labels -> (R,S-1): what is learnt at a place is the token behind it.

        The first token of a conversation stands behind none of its own.
        """
        spliced = self.labels(labels)
        if self.packed:
            spliced = spliced.index_fill(1, self.begins, IGNORE_INDEX)
        return spliced[:, 1:]

    @property
    def packed(self) -> bool:
        """Whether several conversations are in one row."""
        return len(self.mask) < len(self.lengths)

    @property
    def begins(self) -> Tensor:
        """(B,) where in a packed row each conversation begins."""
        return self.lengths.cumsum(0) - self.lengths

    def positions(self) -> Tensor:
        """(1,S) the place of each token of a packed row in its conversation."""
        places = torch.arange(self.mask.shape[1], device=self.mask.device)
        return (places - self.begins.repeat_interleave(self.lengths))[None]

    def apart(self, values: Tensor, places: Tensor, nothing: float) -> Tensor:
        """(1,K,*) values at places (K,) of a packed row, ascending -> (B,k,*), by conversation.

        k is the most that one has; the others are filled up with `nothing`.
        """
        conversations = torch.arange(len(self.lengths), device=places.device)
        rows = conversations.repeat_interleave(self.lengths)[places]
        counts = torch.bincount(rows, minlength=len(self.lengths))
        columns = torch.arange(len(rows), device=rows.device)
        columns = columns - (counts.cumsum(0) - counts)[rows]
        filled = values.new_full((len(counts), int(counts.max()), *values.shape[2:]), nothing)
        return filled.index_put((rows, columns), values[0])


def splice_layout(
    is_image: Tensor,
    mask: Tensor,
    visual_tokens: Tensor,
    *,
    pad_left: bool,
    packed: bool = False,
) -> SpliceLayout:
    """Lay out a batch whose k-th `<image>` becomes `visual_tokens[k]` tokens, (I,) int64.

    is_image, mask: (B,T) bool, `<image>` and real tokens. Whatever side the batch is padded on, the
    spliced one is padded on the right, or with `pad_left` on the left, or is `packed` in one row.
    """
    image = mask & is_image
    widths = mask.long()
    widths[image] = visual_tokens
    ends = widths.cumsum(1)
    lengths = ends[:, -1:]
    if packed:
        steps = torch.arange(int(lengths.sum()), device=mask.device)
        rows, shift = lengths.cumsum(0) - lengths, torch.zeros_like(lengths)
        real = torch.ones_like(steps[None], dtype=torch.bool)
    else:
        longest = int(lengths.max())
        steps = torch.arange(longest, device=mask.device)
        rows = torch.arange(len(mask), device=mask.device)[:, None] * longest
        shift = longest - lengths if pad_left else torch.zeros_like(lengths)
        real = steps >= shift if pad_left else steps < lengths
    columns = shift + ends - widths
    starts = rows + columns
    text = mask & ~is_image
    before = visual_tokens.cumsum(0) - visual_tokens
    visual = (starts[image] - before).repeat_interleave(visual_tokens)
    visual = visual + torch.arange(len(visual), device=mask.device)
    return SpliceLayout(text, starts[text], visual, real, columns[image], lengths[:, 0])
