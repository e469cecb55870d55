"""Fusions that have to do with the language model: they ask for the instruction, or inject.

Shapes: B conversations, T text tokens, I images, D model width.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import doc_examples
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from injected import IMAGE, ROWS, batch_of, loss_of
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

import fusion_zoo
from ablate.cost.memory import EVERYTHING, NOTHING
from ablate.data.batch import IGNORE_INDEX, Batch
from ablate.decoder import find_blocks
from ablate.errors import UserError
from ablate.model.injection import FusionInjection, seen_images
from ablate.model.instruction import instruction_mask, instructions
from ablate.model.mllm import Mllm
from ablate.model.splice import splice_layout
from fusion_zoo import Fusion, LanguageShape, MapShape, Segment

Make = Callable[..., Mllm]


@pytest.fixture(autouse=True)
def _guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both examples of the page, in another package."""
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def opened(model: Mllm) -> Mllm:
    """With every parameter of the fusion drawn anew, so that no zero of its start hides it."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.mixture.fusion.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.5)
    return model


def seen(model: Mllm, batch: Batch) -> torch.Tensor:
    """(I,L,D) the visual tokens of a batch."""
    kept = []
    model.projector.register_forward_hook(lambda *args: kept.append(args[-1].detach()))
    model(batch)
    return kept[-1]


# What is the instruction

turns = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3), st.integers(1, 3)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(turns, min_size=1, max_size=3), st.booleans())
def test_the_instruction_is_the_text_of_the_image_s_turn_and_never_an_answer(
    talks: list[list[tuple[int, int, int, int]]], left: bool
) -> None:
    """A turn: text, images, text, answer. Each token's id says which it is."""
    rows: list[list[int]] = []
    expected: list[list[int]] = []
    learnt: list[list[bool]] = []
    for talk in talks:
        row: list[int] = []
        learn: list[bool] = []
        for number, (before, images, after, answer) in enumerate(talk):
            text = [100 + 10 * number + n for n in range(before + after)]
            row += [*text[:before], *[IMAGE] * images, *text[before:], *[500 + number] * answer]
            learn += [False] * (before + images + after) + [True] * answer
            expected += [text] * images
        rows.append(row)
        learnt.append(learn)
    batch = batch_of(rows, left=left)
    real = batch.attention_mask
    learn_mask = torch.zeros_like(real)
    learn_mask[real] = torch.tensor([one for row in learnt for one in row])
    batch = replace(batch, labels=torch.where(learn_mask, batch.input_ids, IGNORE_INDEX))
    mask = instruction_mask(batch)
    shown = batch.input_ids[batch.image_rows]
    assert [ids[own].tolist() for ids, own in zip(shown, mask, strict=True)] == expected
    embedded = batch.input_ids[..., None].float()
    tokens, kept = instructions(batch, embedded)
    aligned = [one[own][:, 0].long().tolist() for one, own in zip(tokens, kept, strict=True)]
    assert aligned == expected


# A fusion that asks


def test_its_tokens_differ_by_question_and_not_by_answer(make_model: Make) -> None:
    model = opened(make_model(fusion="question_gate"))
    assert model.sees_each_question
    first = seen(model, batch_of([[IMAGE, 5, 6, 9, 9]], answers=2))
    other_answer = seen(model, batch_of([[IMAGE, 5, 6, 11, 12]], answers=2))
    other_question = seen(model, batch_of([[IMAGE, 5, 8, 9, 9]], answers=2))
    assert torch.equal(first, other_answer)
    assert not torch.allclose(first, other_question)


def test_training_and_evaluation_see_the_same(make_model: Make) -> None:
    model = opened(make_model(fusion="question_gate"))
    trained = seen(model, batch_of([[3, IMAGE, 5, 6, 9], [IMAGE, 4, 8]], answers=1))
    asked = seen(model, batch_of([[3, IMAGE, 5, 6], [IMAGE, 4]], left=True))
    torch.testing.assert_close(asked, trained)


def test_the_answer_does_not_leak_into_what_comes_before_it(make_model: Make) -> None:
    """No logit before a token of the answer has a gradient, or a change, by that token."""
    model = opened(make_model(fusion="question_gate"))
    kept: list[torch.Tensor] = []
    model.llm.register_forward_hook(lambda *args: kept.append(args[-1].logits.detach()))
    for last in (9, 30):
        model(batch_of([[3, IMAGE, 5, 6, 17, last]], answers=2))
    assert torch.equal(kept[0], kept[1])  # what predicts both tokens of the answer


def test_without_a_question_the_gate_is_that_of_nothing(make_model: Make) -> None:
    model = opened(make_model(fusion="question_gate"))
    caption = seen(model, batch_of([[IMAGE, 5, 6]], answers=2))
    other = seen(model, batch_of([[IMAGE, 9, 9]], answers=2))
    assert torch.equal(caption, other)
    assert caption.isfinite().all()


def test_the_gate_begins_as_plain_concatenation_and_learns(make_model: Make) -> None:
    mixture = ("clip-micro@32", "convnext-micro@128")
    model = make_model(*mixture, fusion="question_gate")
    plain = make_model(*mixture, fusion="channel_concat")
    plain.projector.load_state_dict(model.projector.state_dict())
    batch = batch_of(ROWS, answers=1)
    assert torch.equal(seen(model, batch), seen(plain, batch))
    loss_of(model, batch).backward()
    gate = model.mixture.fusion.get_submodule("gate")
    assert gate.weight.grad.abs().sum() > 0


def test_tokens_made_for_another_question_cannot_be_given(make_model: Make) -> None:
    model = make_model(fusion="question_gate")
    batch = batch_of([[IMAGE, 5]], left=True)
    with pytest.raises(ValueError, match="differs by question"):
        model.generate(batch, 2, [], visual=torch.zeros(1, 4, 32))


# A fusion that injects


def hidden(model: Mllm, batch: Batch) -> torch.Tensor:
    return model.llm.get_input_embeddings()(batch.input_ids)


def test_with_its_gates_at_zero_logits_are_those_without_it_to_the_bit(make_model: Make) -> None:
    model = make_model(fusion="cross_attention")
    assert model.num_visual_tokens == 0
    kept: list[torch.Tensor] = []
    model.llm.register_forward_hook(lambda *args: kept.append(args[-1].logits.detach()))
    batch = batch_of(ROWS, answers=1)
    model(batch)
    model(batch_of([[token for token in row if token != IMAGE] for row in ROWS], answers=1))
    opened(model)(batch)
    closed, without, injected = kept
    assert closed.numel() > 0
    assert torch.equal(closed, without)
    assert not torch.allclose(injected[0], closed[0])


def test_the_gradient_reaches_the_gates_and_then_all_of_it(make_model: Make) -> None:
    model = make_model(fusion="cross_attention")
    loss_of(model, batch_of(ROWS, answers=2)).backward()
    fusion = model.mixture.fusion
    gates = {name: one.grad for name, one in fusion.named_parameters() if name.endswith("gate")}
    assert gates
    assert all(gradient is not None and gradient != 0 for gradient in gates.values())
    opened(model).zero_grad()
    loss_of(model, batch_of(ROWS, answers=2)).backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    patches = next(model.mixture.encoders.parameters())
    assert patches.grad is not None
    assert patches.grad.abs().sum() > 0


def test_gradients_are_the_same_where_activations_are_computed_again(make_model: Make) -> None:
    def gradients(again: bool) -> dict[str, torch.Tensor]:
        model = opened(make_model(fusion="cross_attention")).train()
        model.checkpoint_activations(EVERYTHING if again else NOTHING)
        loss_of(model, batch_of(ROWS, answers=2)).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, again = gradients(False), gradients(True)
    assert plain.keys() == again.keys()
    for name in plain:
        torch.testing.assert_close(again[name], plain[name], msg=name)


def test_generation_with_a_cache_is_the_argmax_of_full_forward_passes(make_model: Make) -> None:
    model = opened(make_model(fusion="cross_attention"))
    answers = model.generate(batch_of(ROWS, left=True), 6, [])
    free = make_model(fusion="cross_attention").generate(batch_of(ROWS, left=True), 6, [])
    assert answers != free
    kept: list[torch.Tensor] = []
    model.llm.register_forward_hook(lambda *args: kept.append(args[-1].logits.detach()))
    begins = 0
    whole = batch_of(ROWS)
    for row, answer in zip(ROWS, answers, strict=True):
        images = row.count(IMAGE)
        own = batch_of([[*row, *answer]])
        own = replace(own, pixels=whole.pixels[begins : begins + images])
        begins += images
        labels = torch.where(own.input_ids == IMAGE, IGNORE_INDEX, own.input_ids)
        model(replace(own, labels=labels))
        predicted = kept[-1][0].argmax(-1)
        assert predicted[-len(answer) :].tolist() == answer


def test_a_token_sees_the_images_before_it_and_no_other_conversation_s(make_model: Make) -> None:
    model = opened(make_model(fusion="cross_attention"))
    kept: list[torch.Tensor] = []
    model.llm.register_forward_hook(lambda *args: kept.append(args[-1].logits.detach()))
    batch = batch_of([[3, 4, IMAGE, 5, 6], [7, IMAGE, 8, 9, 10]], answers=5)
    model(batch)
    other = batch.pixels.clone()
    other[0] = 255 - other[0]
    model(replace(batch, pixels=other))
    changed = (kept[0] != kept[1]).any(-1)
    assert changed.tolist() == [[False, False, True], [False, False, False]]


def test_padding_and_company_change_nothing(make_model: Make) -> None:
    model = opened(make_model(fusion="cross_attention"))
    loss = loss_of(model, batch_of(ROWS, answers=2))
    torch.testing.assert_close(loss_of(model, batch_of(ROWS, left=True, answers=2)), loss)
    batch = batch_of(ROWS, left=True)
    together = model.generate(batch, 5, [])
    alone = batch_of(ROWS[2:], left=True)
    alone = replace(alone, pixels=batch.pixels[1:])
    assert model.generate(alone, 5, []) == together[2:]


def test_text_alone_is_left_as_it_is_also_in_lockstep(make_model: Make) -> None:
    model = opened(make_model(fusion="cross_attention"))
    model(batch_of(ROWS))  # whose view must not stay
    text = batch_of([[3, 4, 5], [6, 7, 8]], answers=2)
    free = loss_of(model, text)
    torch.testing.assert_close(loss_of(make_model(), text), free)
    model.in_lockstep = True
    together = loss_of(model, text)
    torch.testing.assert_close(together, free)
    together.backward()
    assert all(p.grad is not None for p in model.mixture.fusion.parameters())


def test_a_language_model_whose_blocks_are_not_found_is_one_line() -> None:
    class Injects(Fusion):
        def __init__(self, blocks: tuple[int, ...]) -> None:
            super().__init__([MapShape(8, 2, 2)], (2, 2))
            self.segments, self.media, self.injects = (), Segment(4, 8), blocks

    gpt = GPT2LMHeadModel(GPT2Config(n_layer=3, n_head=2, n_embd=8, vocab_size=9, n_positions=8))
    assert find_blocks(gpt) is gpt.transformer.h
    FusionInjection(Injects((0, 2)), gpt, "gpt")
    with pytest.raises(UserError, match="Injects injects, but gpt has 3 blocks, and no number 3"):
        FusionInjection(Injects((3,)), gpt, "gpt")
    both = T5ForConditionalGeneration(
        T5Config(num_layers=2, d_model=8, d_ff=8, d_kv=4, num_heads=2, vocab_size=9)
    )
    with pytest.raises(UserError, match=r"t5 \(T5.*\) opens no list of its blocks") as caught:
        FusionInjection(Injects((0,)), both, "t5")
    assert "\n" not in str(caught.value)


def test_a_fusion_that_takes_the_language_model_must_be_told_it() -> None:
    llm = LanguageShape(8, 2)
    assert fusion_zoo.takes_llm("cross_attention")
    assert fusion_zoo.options("cross_attention") == {"every": 2, "heads": 4}
    with pytest.raises(ValueError, match="give its shape"):
        fusion_zoo.build("cross_attention", [MapShape(8, 2, 2)], (2, 2))
    with pytest.raises(ValueError, match="5 heads of a width of 8"):
        fusion_zoo.build("cross_attention", [MapShape(8, 2, 2)], (2, 2), llm, heads=5)
    gate = fusion_zoo.build("question_gate", [MapShape(8, 2, 2)], (2, 2), llm)
    with pytest.raises(ValueError, match="asks for the instruction"):
        gate([fusion_zoo.FeatureMap(torch.zeros(1, 8, 2, 2))])


def test_media_stand_by_conversation_in_the_order_of_its_images() -> None:
    ids = torch.tensor([[IMAGE, 1, IMAGE], [2, 3, 4], [5, IMAGE, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    layout = splice_layout(ids == IMAGE, mask, torch.zeros(3, dtype=torch.int64), pad_left=False)
    media = torch.arange(3.0).view(3, 1, 1) + 1
    labels = torch.tensor([[-100, 1, -100], [2, 3, 4], [5, -100, -100]])
    view = seen_images(media.unbind(), torch.tensor([0, 0, 2]), layout, labels)
    assert view.media[..., 0].tolist() == [[1, 2], [0, 0], [3, 0]]
    visible = view.before()
    assert visible[0].tolist() == [[True, False], [False, False], [False, False]]
    assert not visible[1].any()
    # the third row's text ends where its image begins: nothing is left to see it
    assert visible[2].tolist() == [[False, False]] * 3
    assert view.latest()[0].tolist() == [[True, False], [False, False], [False, False]]
    assert view.prompt.tolist() == [[False] * 3, [False] * 3, [False] * 3]
