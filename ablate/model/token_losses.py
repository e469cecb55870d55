"""The loss of each token that is learnt from, without the logits of all of them at once.

A vocabulary is many times as wide as a model: the logits of a few thousand tokens, in float32 and
with their gradient, take gigabytes. Here they are made in chunks of at most `LOGITS_AT_ONCE`, of
which none is kept: the backward pass makes them again, from what the language model puts out. That
is a third more of the head's work, on learnt tokens alone.

Shapes: B conversations, K places of them that some learn from, N tokens learnt from, D model width,
V vocabulary; * any shape.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ablate.cost.memory import LOGITS_AT_ONCE
from ablate.data.batch import IGNORE_INDEX


class Prediction(NamedTuple):
    """What a forward pass says of the tokens that are learnt from."""

    logits: Tensor
    """(B,K,V), in the precision in which the language model computes."""
    targets: Tensor
    """(B,K) int64: the tokens, `IGNORE_INDEX` where a conversation learns nothing."""


class TokenLosses(NamedTuple):
    """How dear each token was that is learnt from."""

    losses: Tensor
    """(B,K) float32: cross-entropy, 0 where a conversation learns nothing."""
    targets: Tensor
    """(B,K), as in a `Prediction`."""


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(*,) float32: cross-entropy of logits (*,V) in any precision, 0 where nothing is learnt."""
    losses = F.cross_entropy(
        logits.flatten(0, -2).float(),
        targets.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="none",
    )
    return losses.view_as(targets)


def chunked_losses(head: nn.Module, hidden: Tensor, targets: Tensor, vocabulary: int) -> Tensor:
    """(N,) float32: `token_losses` of the logits that `head` makes of hidden states (N,D).

    targets: (N,); vocabulary: how many logits the head makes of one of them.
    """
    rows = max(1, LOGITS_AT_ONCE // vocabulary)
    losses = [
        checkpoint(_losses_of_chunk, head, *chunk, use_reentrant=False)
        for chunk in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.cat(losses)


def _losses_of_chunk(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    return token_losses(head(hidden), targets)


def has_plain_head(llm: PreTrainedModel) -> bool:
    """Whether its logits are what its last layer makes of its hidden states, and nothing more.

    Some models scale or cap logits. Found out on one without memory, by what passes where; of one
    that cannot do without, it is not known, and so False.
    """
    passed: list[Tensor] = []
    config = deepcopy(llm.config)
    config._attn_implementation = "eager"  # whatever this one is set to
    with torch.device("meta"), torch.no_grad():
        shape = type(llm)(config)
        head = shape.get_output_embeddings()
        if head is None or shape.base_model is shape:
            return False
        head.register_forward_hook(lambda _, inputs, output: passed.extend([inputs[0], output]))
        shape.base_model.register_forward_hook(lambda *args: passed.append(args[-1][0]))
        width = llm.get_input_embeddings().embedding_dim
        mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)  # whole, so that none is made of values
        given = {"inputs_embeds": torch.empty(1, 2, width), "attention_mask": mask}
        try:
            logits = shape(**given, use_cache=False).logits
        except (NotImplementedError, RuntimeError, ValueError):
            return False
    hidden, read_by_head, made = passed
    return made is logits and (read_by_head is hidden or read_by_head._base is hidden)
