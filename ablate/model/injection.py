"""Visual tokens that enter the language model at its blocks, not by its context.

Shapes: B conversations, S the longest spliced sequence, I images, M media tokens of an image, C
their channels, R the most images of a conversation.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ablate.errors import UserError
from ablate.model.splice import SpliceLayout
from fusion_zoo import Fusion


class MediaView(NamedTuple):
    """What the fusion's injections see in one forward pass."""

    media: Tensor
    """(B,R*M,C), zero where a conversation has fewer images."""
    visible: Tensor
    """(B,S,R*M) bool: a token sees the images that begin before it, or with it."""

    @classmethod
    def of(
        cls,
        media: Tensor,
        image_rows: Tensor,
        layout: SpliceLayout,
        views: Tensor | None = None,
    ) -> "MediaView":
        """The media (I,M,C) of a batch's images by conversation; of several views of each image,
        `views` (I,), those of all of them, (V,M,C).

        Media of no image, where all parts must work in a batch of text, are seen by nobody.
        """
        columns, (batch, length) = layout.image_columns, layout.mask.shape
        if views is not None:
            columns, image_rows = (one.repeat_interleave(views) for one in (columns, image_rows))
        if len(media) > len(image_rows):
            image_rows = media.new_zeros(len(media)).long()
            columns = torch.full_like(image_rows, length)
        counts = torch.bincount(image_rows, minlength=batch)
        most = int(counts.max())
        slot = torch.arange(len(image_rows), device=media.device)
        slot = slot - (counts.cumsum(0) - counts)[image_rows]
        held = media.new_zeros(batch, most, *media.shape[1:])
        held = held.index_put((image_rows, slot), media)
        begins = columns.new_full((batch, most), length)
        begins = begins.index_put((image_rows, slot), columns)
        steps = torch.arange(length, device=media.device)[:, None]
        visible = (steps >= begins[:, None]) & layout.mask[..., None]
        return cls(held.flatten(1, 2), visible.repeat_interleave(media.shape[1], dim=2))


class Injector:
    """Has the fusion change what the blocks of the language model are given that it names.

    `view`: what it sees in the forward pass to come; None: nothing is injected. It must stay until
    the backward pass, in which blocks may be computed again. UserError where the language model
    has no such blocks.
    """

    def __init__(self, fusion: Fusion, llm: PreTrainedModel, name: str) -> None:
        self.fusion = fusion
        self.view: MediaView | None = None
        if not fusion.injects:
            return
        blocks = find_blocks(llm)
        what = f"{type(fusion).__name__} injects into the blocks of the language model, but {name}"
        if blocks is None:
            raise UserError(f"{what} ({type(llm).__name__}) opens no list of its blocks")
        for number in fusion.injects:
            if not 0 <= number < len(blocks):
                raise UserError(f"{what} has {len(blocks)} of them, and no number {number}")
            hook = partial(self._inject, number)
            blocks[number].register_forward_pre_hook(hook, with_kwargs=True)

    def _inject(
        self, number: int, block: nn.Module, args: tuple[Any, ...], more: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self.view is None:
            return None
        hidden: Tensor = args[0] if args else more["hidden_states"]
        media, visible = self.view
        if hidden.shape[1] < visible.shape[1]:  # tokens that are generated, behind the whole prompt
            visible = visible[:, -1:].expand(-1, hidden.shape[1], -1)
        changed = self.fusion.inject(number, hidden, media, visible)
        if args:
            return (changed, *args[1:]), dict(more)
        return (), {**more, "hidden_states": changed}


def find_blocks(llm: PreTrainedModel) -> nn.ModuleList | None:
    """The one list of as many blocks as the language model's configuration says; None without."""
    count = count_blocks(llm)
    lists = [
        module
        for module in llm.modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    return lists[0] if count and len(lists) == 1 else None


def count_blocks(llm: PreTrainedModel) -> int:
    """How many blocks the configuration says; 0 where it does not."""
    return int(getattr(llm.config.get_text_config(decoder=True), "num_hidden_layers", 0))
