"""Visual tokens that enter the language model at its blocks, not by its context alone.

Shapes: B conversations, S the longest spliced sequence, I images, M media tokens of a conversation,
C their channels, D the language model's width.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ablate.data.batch import IGNORE_INDEX
from ablate.decoder import check_fits, decoder_of, find_blocks, place_of_mask
from ablate.errors import UserError
from ablate.model.splice import SpliceLayout
from fusion_zoo import Fusion
from fusion_zoo.injections import Injection, Seen

BEYOND = 2**31 - 1
"""The number of an image behind all others."""


def seen_images(
    media: Sequence[Tensor], image_rows: Tensor, layout: SpliceLayout, labels: Tensor
) -> Seen:
    """What is seen of a batch's images, whose media are (M_i,C) each.

    image_rows: (I,) their conversations, ascending; labels: (B,T) of the batch. Media of no image,
    where all parts must work in a batch of text, are seen by nobody.
    """
    columns, (batch, length) = layout.image_columns, layout.mask.shape
    if len(media) > len(image_rows):
        image_rows = image_rows.new_zeros(len(media))
        columns = torch.full_like(image_rows, length)
    begins = torch.zeros(batch, length + 1, dtype=torch.long, device=layout.mask.device)
    begins.index_put_((image_rows, columns), torch.ones_like(columns), accumulate=True)
    counts = torch.bincount(image_rows, minlength=batch)
    images = torch.arange(len(image_rows), device=image_rows.device)
    numbers = images - (counts.cumsum(0) - counts)[image_rows] + 1
    held, of = _by_conversation(media, image_rows, numbers, batch)
    learnt = layout.labels(labels) != IGNORE_INDEX
    return Seen(
        places=layout.visual_places,
        images=tuple(media),
        media=held,
        numbers=of,
        begun=begins.cumsum(1)[:, :-1] * layout.mask,
        prompt=layout.mask & (learnt.cumsum(1) == 0),
    )


def _by_conversation(
    media: Sequence[Tensor], rows: Tensor, numbers: Tensor, batch: int
) -> tuple[Tensor, Tensor]:
    """(B,M,C) media of images in these rows, and (B,M) the numbers of their images."""
    sizes = torch.tensor([len(tokens) for tokens in media], dtype=torch.long, device=rows.device)
    row, number = rows.repeat_interleave(sizes), numbers.repeat_interleave(sizes)
    counts = torch.bincount(row, minlength=batch)
    slot = torch.arange(len(row), device=rows.device) - (counts.cumsum(0) - counts)[row]
    most = int(counts.max())
    of = numbers.new_full((batch, most), BEYOND).index_put((row, slot), number)
    if not media:
        return torch.zeros(batch, 0, 0, device=rows.device), of
    flat = torch.cat([*media])
    held = flat.new_zeros(batch, most, flat.shape[1]).index_put((row, slot), flat)
    return held, of


class FusionInjection(Injection):
    """What a fusion that `injects` does of itself, with media that it makes."""

    def __init__(self, fusion: Fusion, llm: PreTrainedModel, name: str) -> None:
        super().__init__(decoder_of(llm))
        self.fusion = fusion
        self.before_blocks = fusion.injects
        try:
            check_fits(self, llm, name)
        except UserError as error:
            raise UserError(f"{type(fusion).__name__} injects, but {error}") from error

    def before(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        return self.fusion.inject(block, hidden, seen.media, seen.before())


class Injector:
    """Has an injection change what the language model computes, where it declares to.

    `seen`: what it sees in the forward pass to come; None: nothing is changed. It must stay until
    the backward pass, in which blocks may be computed again.
    """

    def __init__(self, injection: Injection, llm: PreTrainedModel) -> None:
        self.injection = injection
        self.seen: Seen | None = None
        blocks = find_blocks(llm)
        for number in injection.before_blocks:
            hook = partial(self._before, number)
            blocks[number].register_forward_pre_hook(hook, with_kwargs=True)
        for number in injection.after_blocks:
            blocks[number].register_forward_hook(partial(self._after, number))
        for number, layer in injection.linears:
            linear = blocks[number].get_submodule(layer)
            linear.register_forward_hook(partial(self._linear, number, layer))
        for block in blocks if injection.masks else ():
            hook = partial(self._mask, place_of_mask(block, type(llm).__name__))
            block.register_forward_pre_hook(hook, with_kwargs=True)

    @property
    def acts(self) -> bool:
        """Whether the injection changes anything."""
        injection = self.injection
        return bool(
            injection.before_blocks
            or injection.after_blocks
            or injection.linears
            or injection.masks
        )

    def _before(
        self, number: int, block: nn.Module, args: tuple[Any, ...], more: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        hidden: Tensor = args[0] if args else more["hidden_states"]
        seen = self._seen(hidden)
        if seen is None:
            return None
        changed = self.injection.before(number, hidden, seen)
        if args:
            return (changed, *args[1:]), dict(more)
        return (), {**more, "hidden_states": changed}

    def _after(self, number: int, block: nn.Module, args: tuple[Any, ...], given: Any) -> Any:
        hidden: Tensor = given[0] if isinstance(given, tuple) else given
        seen = self._seen(hidden)
        if seen is None:
            return None
        changed = self.injection.after(number, hidden, seen)
        return (changed, *given[1:]) if isinstance(given, tuple) else changed

    def _linear(
        self, number: int, name: str, layer: nn.Module, args: tuple[Any, ...], given: Tensor
    ) -> Tensor | None:
        seen = self.seen
        if seen is None or given.shape[1] < seen.begun.shape[1]:  # what is generated is text
            return None
        return self.injection.linear(number, name, args[0], given, seen)

    def _mask(
        self, position: int, block: nn.Module, args: tuple[Any, ...], more: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        hidden: Tensor = args[0] if args else more["hidden_states"]
        length = hidden.shape[1]
        if self.seen is None or length < self.seen.begun.shape[1]:  # a last token sees all anyway
            return None
        given = args[position] if position < len(args) else more.get("attention_mask")
        mask = _opened(given, self.injection.two_way(self.seen))
        if position < len(args):
            return (*args[:position], mask, *args[position + 1 :]), dict(more)
        return args, {**more, "attention_mask": mask}

    def _seen(self, hidden: Tensor) -> Seen | None:
        if self.seen is None or hidden.shape[1] == self.seen.begun.shape[1]:
            return self.seen
        return self.seen.next()  # tokens that are generated, one by one, behind the whole prompt


def _opened(given: Tensor | None, both: Tensor) -> Tensor:
    """(B,1,S,S) a mask of attention in which tokens of `both` (B,S) see each other, too.

    given: the one there is, causal; None: that and no padding; of bool, or added to the scores.
    """
    pairs = (both[:, :, None] & both[:, None, :])[:, None]
    if given is None:
        length = both.shape[1]
        return pairs | torch.ones(length, length, dtype=torch.bool, device=both.device).tril()
    if given.dtype == torch.bool:
        return given | pairs
    return given.masked_fill(pairs, 0.0)
