"""Part of the visual tokens in the context, the others added to them block by block (DeepStack).

V visual tokens in the contexts of a batch, D width of the language model; an image has L tokens.

Meng et al. 2024 (arXiv 2406.04334), section 3; Qwen3-VL: the k-th stack is added to the hidden
states at the image's places after block k - 1. Ours: the stacks are the connector's tokens in
runs, so with `sequence_append` of maps on one grid each expert behind the base is a stack and
takes no room in the context. Theirs are tokens of a larger image, or of layers of the encoder.
"""

import torch
from torch import Tensor

from fusion_zoo.injections import Decoder, Injection, Seen


class Deepstack(Injection):
    """L / stacks tokens in the context; no parameters. ValueError where L has no such part.

    stacks: into how many runs an image's tokens are cut, the first of them in the context.
    every: blocks from one stack to the next.
    """

    def __init__(self, llm: Decoder, *, stacks: int = 2, every: int = 1) -> None:
        super().__init__(llm)
        most = 1 + (len(llm.blocks) - 1) // max(every, 1)
        if every < 1 or not 2 <= stacks <= 1 + most:
            raise ValueError(
                f"{stacks} stacks, every {every} blocks of {len(llm.blocks)}: take 2 to {1 + most} "
                "stacks and at least every block"
            )
        self.runs = stacks
        self.after_blocks = tuple(every * n for n in range(stacks - 1))

    def after(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        number = self.after_blocks.index(block)
        if not len(seen.places):
            return hidden
        stacks = [torch.unflatten(media, 0, (self.runs - 1, -1))[number] for media in seen.images]
        added = torch.cat(stacks).to(hidden.dtype)
        return hidden.flatten(0, 1).index_add(0, seen.places, added).view_as(hidden)
