"""A small language model's shape, and what injections see of a made-up batch.

B conversations, S tokens, M media of a conversation, D width.
"""

from collections.abc import Sequence

import torch
from torch import nn

from fusion_zoo.injections import Decoder, LinearShape, Seen

WIDTH, HEADS, KEY_HEADS, INNER, EPS = 16, 4, 2, 24, 1e-5
LINEARS = {
    "self_attn.q_proj": LinearShape(16, 16, True),
    "self_attn.k_proj": LinearShape(16, 8, True),
    "mlp.down_proj": LinearShape(24, 16, False),
}


def decoder(blocks: int = 4) -> Decoder:
    return Decoder(WIDTH, HEADS, KEY_HEADS, WIDTH // HEADS, INNER, EPS, (LINEARS,) * blocks)


def seen_of(
    begun: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    media: int,
    prompt: Sequence[int] = (),
) -> Seen:
    """What is seen of conversations whose tokens have so many images before them.

    places: those of each image's visual tokens, image by image; media: of each image; prompt: how
    many tokens of each conversation come before its first answer, by default all.
    """
    begins = torch.tensor(begun)
    counts = begins.amax(1)
    draw = torch.Generator().manual_seed(2)
    images = [torch.randn(media, WIDTH, generator=draw) for _ in range(int(counts.sum()))]
    most = int(counts.max())
    held = torch.zeros(len(begins), most, media, WIDTH)
    numbers = torch.full((len(begins), most, media), 99)
    rest = iter(images)
    for row, count in enumerate(counts.tolist()):
        for place in range(count):
            held[row, place], numbers[row, place] = next(rest), place + 1
    ends = torch.tensor(list(prompt) or [begins.shape[1]] * len(begins))
    return Seen(
        places=torch.tensor([place for image in places for place in image], dtype=torch.long),
        images=tuple(images),
        media=held.flatten(1, 2),
        numbers=numbers.flatten(1, 2),
        begun=begins,
        prompt=torch.arange(begins.shape[1]) < ends[:, None],
    )


def scramble(module: nn.Module) -> None:
    """Draw every parameter anew, so that no zero of the start hides anything."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
