"""The language model names the experts that are to look at an image, where a fusion has it do so.

Shapes: B conversations, I images, V views of them, E experts, F values of all encoders' maps of an
image, N visual tokens of one, D model width.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ablate.data.batch import IGNORE_INDEX, Batch
from ablate.errors import UserError
from ablate.model.instruction import instructions
from ablate.model.mixture import Mixture, feature_size, features
from fusion_zoo import Instruction

if TYPE_CHECKING:
    from ablate.model.mllm import Mllm


class Weighed(NamedTuple):
    """What is said of a batch's experts, and what they are worth."""

    scores: Tensor
    """(I,E) the language model's."""
    losses: Tensor
    """(I,1+E) of the image's conversation, a token: without any expert, and with each alone."""
    share: Tensor
    """(I,) how much an image counts: as much in all as those of any other conversation with an
    answer; 1 is the whole batch."""


def require_whole_experts(mixture: Mixture, injection: str) -> None:
    """UserError where experts cannot be named."""
    for encoder in mixture.all_encoders:
        if len(encoder.shapes) > 1:
            raise UserError(
                f"experts are named as a whole, but {encoder.spec.title} has several maps; take it "
                "without them, or expert_routing"
            )
    if injection != "prefix":
        raise UserError(
            f"the language model names experts by what its context holds: injection '{injection}' "
            "cannot be; take prefix, or expert_routing"
        )


def coin(images: int, experts: int, device: torch.device) -> Tensor:
    """(I,E) bool: each expert of each image or not, one as likely as the other."""
    return torch.rand(images, experts, device=device) < 0.5


@torch.no_grad()
def look(
    mixture: Mixture, pixels: Tensor, chosen: Tensor | None = None, before: Tensor | None = None
) -> Tensor:
    """(V,F) the `features` of encoders of views, side by side, as a mixture takes them.

    `chosen`: (V,E) which experts look at which view, default none; of all others they are zero.
    `before`: what was seen already, to be filled up; default: the base looks now.
    """
    if pixels.ndim == 2:  # seen by all of them, once and for all
        return pixels
    base, *experts = mixture.all_encoders
    if before is None:
        of_base = features(base, pixels)
        rest = sum(feature_size(expert) for expert in experts)
        before = F.pad(of_base, (0, rest))
    if chosen is None:
        return before
    seen, start = before.clone(), feature_size(base)
    for number, expert in enumerate(experts):
        rows = chosen[:, number].nonzero()[:, 0]
        end = start + feature_size(expert)
        if len(rows):
            seen[rows, start:end] = features(expert, pixels[rows]).to(seen.dtype)
        start = end
    return seen


def by_view(chosen: Tensor, views: Sequence[int]) -> Tensor:
    """(V,E) what was chosen of images (I,E), of their views."""
    return chosen.repeat_interleave(torch.tensor(views, device=chosen.device), dim=0)


def name_experts(model: "Mllm", batch: Batch) -> tuple[Batch, Tensor]:
    """The batch with what the base and the named experts have seen in the place of pixels, and
    (I,E) bool: who was named."""
    mixture, cut = model.mixture, model.cut(batch.sizes)
    seen = look(mixture, batch.pixels)
    chosen = mixture.fusion.named(_scores(model, replace(batch, pixels=seen)))
    views = chosen if cut is None else by_view(chosen, cut.views)
    return replace(batch, pixels=look(mixture, batch.pixels, views, seen)), chosen


def weigh_experts(model: "Mllm", batch: Batch) -> Weighed:
    """What the language model says of experts, and the losses that show whether it is right.

    The scores alone have a gradient, by what is asked and how the language model reads it: what it
    sees of an image is not taught to name experts.
    """
    fusion, images = model.mixture.fusion, len(batch.image_rows)
    experts = len(fusion.shapes) - 1
    everyone = torch.ones(len(batch.pixels), experts, dtype=torch.bool, device=batch.pixels.device)
    seen = replace(batch, pixels=look(model.mixture, batch.pixels, everyone))
    nobody = torch.zeros(images, experts, dtype=torch.bool, device=everyone.device)
    losses = []
    with torch.no_grad():
        for number in range(-1, experts):
            chosen = nobody.clone()
            if number >= 0:
                chosen[:, number] = True
            losses.append(_losses(model, seen, chosen)[batch.image_rows])
    learns = (batch.labels != IGNORE_INDEX).any(dim=1)
    counts = torch.bincount(batch.image_rows, minlength=len(learns))
    share = learns / (counts.clamp(min=1) * learns.sum().clamp(min=1))
    return Weighed(_scores(model, seen), torch.stack(losses, dim=1), share[batch.image_rows])


def _losses(model: "Mllm", batch: Batch, chosen: Tensor) -> Tensor:
    """(B,) the mean loss of the tokens learnt in each conversation; 0 where there are none."""
    losses, targets = model(batch, chosen, by_token=True)
    means: Tensor = losses.sum(1) / (targets != IGNORE_INDEX).sum(1).clamp(min=1)
    return means


def _scores(model: "Mllm", batch: Batch) -> Tensor:
    """(I,E) of what the language model has read: the base's tokens, instruction, question."""
    embed, fusion = model.llm.get_input_embeddings(), model.mixture.fusion
    text = embed(batch.input_ids.clamp(min=0)).detach()
    context = instructions(batch, text)
    images = len(batch.image_rows)
    nobody = torch.zeros(images, len(fusion.shapes) - 1, dtype=torch.bool, device=text.device)
    with torch.no_grad():
        visual = model.visual(batch, context, nobody).to(text.dtype)
    each = torch.split(visual, model.tiles.visual(images, batch.sizes))
    read = _spliced(each, context, fusion.question().to(text.dtype))
    decoder = model.llm.get_decoder()
    states = decoder(inputs_embeds=pad_sequence(read, True), use_cache=False).last_hidden_state
    ends = torch.tensor([len(row) - 1 for row in read], device=states.device)
    scores: Tensor = fusion.scores(states[torch.arange(images, device=states.device), ends])
    return scores


def _spliced(visual: tuple[Tensor, ...], context: Instruction, question: Tensor) -> list[Tensor]:
    """(N+T+Q,D) of each image: its tokens, what is asked about it, and who is to look."""
    words = [tokens[mask] for tokens, mask in zip(*context, strict=True)]
    return [torch.cat([seen, text, question]) for seen, text in zip(visual, words, strict=True)]
