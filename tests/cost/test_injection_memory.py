"""What an injection keeps for the backward pass is foretold, as of the language model around it.

Shapes: B conversations, S tokens read of each, D width, L visual tokens of an image.
"""

from typing import Any

import pytest
import torch
from test_cost import bytes_kept
from torch import Tensor, nn

from ablate.config.infra import Infra
from ablate.config.study import load_study
from ablate.cost import estimate as cost
from ablate.decoder import build_injection
from ablate.model.injection import Injector
from ablate.model.language import load_llm
from fusion_zoo.injections import INJECTIONS, Seen

OPTIONS = {"gated_cross_attention": ", every: 2, heads: 4, head_width: 32"}
BARE = ("prefix", "prefix_lm", "deepstack")
WITH_LAYERS = [name for name in INJECTIONS.names() if name not in BARE]
B, TEXT, L = 4, 100, 16


class Reading(nn.Module):
    """A language model that reads with what is injected, an image a conversation."""

    def __init__(self, chosen: dict[str, Any], cost_of: cost.ModelCost) -> None:
        super().__init__()
        self.llm = load_llm(cost_of.spec, load_weights=False)
        self.injection = build_injection(chosen, self.llm, cost_of.spec.name, L, cut=False)
        self.context = self.injection.context_tokens(L)
        self.injector = Injector(self.injection, self.llm)

    def forward(self, hidden: Tensor, media: Tensor) -> None:
        """hidden (B,S,D), of which the first tokens are the images'; media: those beside them."""
        begun = torch.ones(hidden.shape[:2], dtype=torch.long)
        places = torch.arange(hidden.shape[1])[: self.context] + (
            torch.arange(B)[:, None] * hidden.shape[1]
        )
        self.injector.seen = Seen(
            places=places.flatten(),
            images=tuple(media),
            media=media,
            numbers=torch.ones(media.shape[:2], dtype=torch.long),
            begun=begun,
            prompt=begun > 0,
        )
        self.llm(inputs_embeds=hidden, logits_to_keep=1, use_cache=False)


def test_a_plan_counts_it_where_it_is_in_the_way_of_a_gradient() -> None:
    def kept(*changes: str) -> float:
        """Bytes of a conversation with 60 tokens of text."""
        design = load_study("micro/smoke", changes).base
        stage, model = design.recipe.stages()["finetune"], cost.model_cost(design)
        memory = cost._memory(design, model, stage, Infra(), 60)
        return 2**30 * (memory.needed(1) - memory.held)

    expert = "base.injection=visual_expert"
    model = cost.model_cost(load_study("micro/smoke", [expert]).base, None)
    with_image, each = model.kept_by_injection
    read = model.visual_tokens + 60
    assert kept(expert) - kept() == pytest.approx(with_image + read * each, rel=1e-3)


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_what_an_injection_keeps_for_the_backward_pass_is_foretold(name: str) -> None:
    chosen = f"base.injection={{name: {name}{OPTIONS.get(name, '')}}}"
    design = load_study("micro/smoke", [chosen]).base
    model = cost.model_cost(design)
    reading = Reading(design.injection, model)
    read, width = TEXT + reading.context, model.spec.width
    hidden = torch.rand(B, read, width, requires_grad=True)
    media = torch.rand(B, L - reading.context, width, requires_grad=True)
    kept = bytes_kept(reading, hidden, media)
    plain = load_llm(model.spec, load_weights=False)
    kept -= bytes_kept(plain, inputs_embeds=hidden, logits_to_keep=1, use_cache=False)
    with_image, each = model.kept_by_injection
    assert kept == pytest.approx(B * (with_image + read * each), rel=0.35)
