"""Conversations end to end in one sequence, each of which attends to itself alone.

Nothing is padded, positions begin anew with each conversation, and what lies outside the blocks of
the block-diagonal mask is not computed. There are two ways of the same result: `APART`, one
conversation after the other by the kernel for plain causal attention, on any device and without a
mask; and `AT_ONCE`, all in one compiled kernel that is told which blocks of 128x128 places hold
something (FlexAttention, arXiv 2412.05496), on a GPU.

Shapes: B conversations, S tokens of all of them, N blocks of these; H heads, C their width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

APART = "ablate_packed"
AT_ONCE = "ablate_packed_at_once"
"""Their names among transformers' implementations of attention, which makes no mask for them.

A model that is set to one reads packed sequences alone, each with its `lengths` and its positions.
"""

BLOCK = 128
"""Places of a block's side, FlexAttention's own."""


class Lengths:
    """How many tokens each conversation of a sequence has; nothing that compilation looks into."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self._masks: dict[int | None, BlockMask] = {}

    def block_mask(self, window: int | None, device: torch.device) -> BlockMask:
        """What attends to what, made once for all layers of the same window."""
        if window not in self._masks:
            self._masks[window] = block_mask(self.tokens, window, device)
        return self._masks[window]


def block_mask(tokens: list[int], window: int | None, device: torch.device) -> BlockMask:
    """The mask of causal attention within conversations of so many tokens, end to end.

    `window`: of how many tokens, itself among them, one sees the last; None for all. It is made of
    the blocks alone, (N,N), never of the places, (S,S).
    """
    lengths = torch.tensor(tokens, device=device)
    begins = lengths.cumsum(0) - lengths
    places = torch.arange(sum(tokens), device=device)
    first = begins.repeat_interleave(lengths, output_size=len(places))  # that each place sees
    if window is not None:
        first = torch.maximum(first, places - window + 1)
    first = first.int()

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key >= first[query])

    # A place sees all from its first to itself, and no place's first is before one's to its left.
    key_block = torch.arange(-(-len(places) // BLOCK), device=device)
    block = key_block[:, None]
    left, right = first[::BLOCK], first[(places[::BLOCK] + BLOCK - 1).clamp(max=places[-1])]
    some = (key_block <= block) & (key_block >= (left // BLOCK)[:, None])
    whole = (key_block < block) & (key_block * BLOCK >= right[:, None])
    return BlockMask.from_kv_blocks(
        *_in_order(some & ~whole),
        *_in_order(whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(len(places), len(places)),
    )


def _in_order(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(N,N) bool -> how many each row has (1,1,N), and their columns, ahead of others (1,1,N,N)."""
    rows = blocks[None, None].int()
    columns = rows.argsort(dim=-1, descending=True, stable=True)
    return rows.sum(-1, dtype=torch.int32), columns.int().contiguous()


@torch.compiler.disable  # type: ignore[untyped-decorator]  # lengths differ each time
def attend_apart(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    lengths: Lengths,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """(1,S,H,C) attention of query, key and value (1,H,S,C), as transformers asks for it."""
    pieces = [torch.split(part, lengths.tokens, dim=2) for part in (query, key, value)]
    made = [
        sdpa_attention_forward(module, *piece, _window(piece[0], sliding_window), **options)[0]
        for piece in zip(*pieces, strict=True)
    ]
    return torch.cat(made, 1), None


def _window(query: Tensor, tokens: int | None) -> Tensor | None:
    """The mask of a causal window of so many tokens; None where all before a token are in it."""
    length = query.shape[2]
    if tokens is None or length <= tokens:
        return None
    near = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return near.tril().triu(1 - tokens)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # its kernel is compiled by itself
def attend_at_once(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    lengths: Lengths,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The same as `attend_apart`, in one kernel. Only without dropout, and on a GPU."""
    mask = lengths.block_mask(sliding_window, query.device)
    # Rotation leaves them in float32 where the rest is in half precision.
    query, key = query.to(value.dtype), key.to(value.dtype)
    return flex_attention_forward(module, query, key, value, mask, **options)[0], None


AttentionInterface.register(APART, attend_apart)
AttentionInterface.register(AT_ONCE, attend_at_once)
