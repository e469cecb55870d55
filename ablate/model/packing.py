"""Conversations end to end in one sequence, each of which attends to itself alone.

Nothing is padded. Positions begin anew with each conversation, and attention is computed one
conversation after the other: the block-diagonal mask is never made, and what lies outside it is
never computed, on any device, by the kernel for plain causal attention.

Shapes: B conversations, S tokens of all of them; H heads, C their width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION = "ablate_packed"
"""Its name among transformers' implementations of attention, which makes no mask for it.

A model that is set to it reads packed sequences alone, each with its `lengths` and its positions.
"""


class Lengths:
    """How many tokens each conversation of a sequence has; nothing that compilation looks into."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens


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


AttentionInterface.register(ATTENTION, attend_apart)
