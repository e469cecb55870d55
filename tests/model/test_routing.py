"""The language model names experts, and only these look.

Shapes: I images, E experts.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from injected import IMAGE, ROWS, batch_of
from torch.nn import functional as F

from ablate.data.batch import IGNORE_INDEX, Batch
from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.model.routing import look, name_experts, weigh_experts
from ablate.train.objectives.routing import Routing

Make = Callable[..., Mllm]
MIXTURE = "clip-micro@32", "convnext-micro@64", "dinov2-micro@64"
SMALL = {"blocks": 1, "keep": 1, "heads": 2, "head_width": 8}


@pytest.fixture(scope="module")
def model(make_model: Make) -> Mllm:
    """With no zero of its start, by which an expert's help would hide."""
    made = make_model(*MIXTURE, fusion="coarse_to_fine", norm="layer", options=SMALL)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.mixture.fusion.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=draw))
    return made


def named_by(model: Mllm, *scores: list[float]) -> torch.Tensor:
    return model.mixture.fusion.named(torch.tensor(scores))


def test_at_most_so_many_are_named_and_none_that_does_not_help(model: Mllm) -> None:
    chosen = named_by(model, [0.2, 0.1], [-1, 3], [-1, -2])
    assert chosen.tolist() == [[True, False], [False, True], [False, False]]


@torch.no_grad()
def test_what_is_not_named_does_not_look_and_answers_are_those_with_it_shut_out(
    model: Mllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    for number, expert in enumerate(model.mixture.encoders[1:]):
        expert.register_forward_pre_hook(
            lambda module, args, number=number: looked.extend([number] * len(args[0]))
        )
    scores = torch.tensor([[1.0, -1.0], [-1.0, 2.0], [-1.0, -1.0]])
    monkeypatch.setattr(model.mixture.fusion, "scores", lambda reading: scores)
    batch = batch_of(ROWS, left=True)
    answers = model.generate(batch, 4, [])
    assert looked == [0, 1]  # of three images, whose third is the base's alone
    for row, answer in zip(ROWS, answers, strict=True):
        whole = batch_of([[*row, *answer]], answers=len(answer))
        images = [i for i, of in enumerate(batch.image_rows) if ROWS[of] == row]
        whole = replace(whole, pixels=batch.pixels[images] if images else whole.pixels)
        logits, _ = model(whole, named_by(model, *scores[images].tolist()) if images else None)
        assert logits[0].argmax(-1).tolist() == answer


def test_the_name_depends_on_image_and_instruction_and_on_no_neighbour(model: Mllm) -> None:
    def scores(batch: Batch) -> torch.Tensor:
        return weigh_experts(model, batch).scores.detach()

    one, other = [IMAGE, 5, 6, 9], [3, IMAGE, 11, 12, 9]
    alone = scores(batch_of([one], answers=1))
    torch.testing.assert_close(scores(batch_of([one, other], answers=1))[:1], alone)
    assert not torch.allclose(scores(batch_of([[IMAGE, 5, 8, 9]], answers=1)), alone)
    dark = batch_of([one], answers=1)
    assert not torch.allclose(scores(replace(dark, pixels=dark.pixels // 9)), alone)
    trained = batch_of([[IMAGE, 5, 6, 30]], answers=1)  # no answer tells who is named
    torch.testing.assert_close(scores(replace(trained, pixels=dark.pixels)), alone)


def test_an_expert_is_worth_the_loss_of_the_conversation_with_it_alone(model: Mllm) -> None:
    batch = batch_of(ROWS, answers=2)
    weighed = weigh_experts(model, batch)
    assert weighed.losses.shape == (3, 3)
    assert weighed.scores.shape == (3, 2)
    for row, column, chosen in ((0, 0, [0, 0]), (1, 2, [0, 1]), (2, 1, [1, 0])):
        logits, targets = model(batch, torch.tensor([chosen] * 3).bool())
        of = int(batch.image_rows[row])
        learnt = targets[of] != IGNORE_INDEX
        expected = F.cross_entropy(logits[of][learnt], targets[of][learnt])
        torch.testing.assert_close(weighed.losses[row, column], expected.detach())
    # Three conversations with an answer, of which one has two images and one has none.
    torch.testing.assert_close(weighed.share, torch.tensor([2.0, 1.0, 1.0]) / 6)


def test_what_is_learnt_is_whether_the_loss_falls_and_by_nobody_but_who_names(model: Mllm) -> None:
    scores = torch.tensor([[2.0, -1.0], [0.5, 0.0]], requires_grad=True)
    losses = torch.tensor([[3.0, 2.0, 4.0], [1.0, 1.0, 0.5]])
    share = torch.tensor([0.25, 0.5])
    of_each = F.softplus(torch.tensor([[-2.0, -1.0], [0.5, 0.0]])).mean(1)
    torch.testing.assert_close(Routing()(scores, losses, share), (of_each * share).sum())
    model.zero_grad()
    Routing()(*weigh_experts(model, batch_of(ROWS, answers=2))).backward()
    learning = {name for name, one in model.named_parameters() if one.grad is not None}
    assert {"mixture.fusion.asking", "mixture.fusion.naming.weight"} <= learning
    assert not [name for name in learning if not name.startswith(("llm", "mixture.fusion"))]
    assert not [name for name in learning if "fusion.blocks" in name]


def test_while_the_fusion_learns_a_coin_chooses_and_else_all_are_there(model: Mllm) -> None:
    batch, everyone = batch_of(ROWS, answers=2), torch.ones(3, 2, dtype=torch.bool)
    with torch.no_grad():
        whole = model(batch, everyone).logits
        torch.testing.assert_close(model(batch).logits, whole)
        model.mixture.fusion.train()
        try:
            torch.manual_seed(2)
            drawn = [model(batch).logits for _ in range(4)]
            torch.manual_seed(2)
            assert torch.equal(model(batch).logits, drawn[0])
        finally:
            model.mixture.fusion.eval()
    assert any(not torch.allclose(each, drawn[0]) for each in drawn[1:])


def test_views_of_a_tiling_are_seen_by_whom_their_image_named(make_model: Make) -> None:
    tiling = {"name": "internvl", "max_tiles": 2, "thumbnail": True, "tile": 0}
    made = make_model(*MIXTURE, fusion="coarse_to_fine", options=SMALL, tiling=tiling)
    batch = batch_of([[3, IMAGE, 5]], left=True)
    views = made.cut(torch.tensor([[64, 32]]))
    assert views is not None
    pixels = torch.randint(0, 256, (views.views[0], 3, 32, 32), dtype=torch.uint8)
    batch = replace(batch, pixels=pixels, sizes=torch.tensor([[64, 32]]))
    with torch.no_grad():
        made.mixture.fusion.naming.bias.copy_(torch.tensor([-1.0, 1.0]))  # type: ignore[union-attr]
        seen, chosen = name_experts(made, batch)
    assert chosen.tolist() == [[False, True]]
    everyone = look(made.mixture, pixels, torch.ones(len(pixels), 2, dtype=torch.bool))
    same = (seen.pixels == everyone).all(0)
    convnext = made.mixture.all_encoders[0].spec.width * 4 * 4  # where its features begin
    assert same[:convnext].all()
    assert (seen.pixels[:, ~same] == 0).all()
    assert same[-1]


def test_experts_of_several_maps_or_beside_an_injection_cannot_be_named(make_model: Make) -> None:
    with pytest.raises(UserError, match="convnext-micro-pyramid@128 has several maps; take it"):
        make_model("clip-micro@32", "convnext-micro-pyramid@128", fusion="coarse_to_fine")
    with pytest.raises(UserError, match="injection 'visual_expert' cannot be; take prefix"):
        make_model(*MIXTURE, fusion="coarse_to_fine", injection={"name": "visual_expert"})
