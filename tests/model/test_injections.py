"""Injections in a whole model: what they leave as it is, what they change, where they do not fit.

They are asked on what is registered, so another package's pass the same tests.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import doc_examples
import pytest
import torch
from injected import IMAGE, ROWS, batch_of, loss_of
from pairs import covering
from test_connected import told
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from ablate.cost.memory import EVERYTHING, NOTHING
from ablate.data.batch import Batch
from ablate.decoder import build_injection, decoder_of, find_blocks
from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.model.parts import load_parts, save_parts
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS, Injection

Make = Callable[..., Mllm]
SMALL: dict[str, dict[str, int]] = {
    "gated_cross_attention": {"every": 1, "heads": 2, "head_width": 4},
    "idefics_cross_attention": {"every": 1},
    "llama_vision": {"every": 1},
    "partial_lora": {"rank": 2},
}
"""Options by which they have something to do in a model of two blocks."""
NAMES = INJECTIONS.names()
SILENT = ("gated_cross_attention", "idefics_cross_attention", "llama_vision")
"""Those by which an untrained model does not see images at all."""
LIKE_PREFIX = ("prefix", "visual_expert", "partial_lora")
"""Those by which an untrained model computes what it does with a prefix."""


def choice(name: str) -> dict[str, Any]:
    return {"name": name, **SMALL.get(name, {})}


def opened(model: Mllm) -> Mllm:
    """With every parameter of the injection drawn anew, so that no zero of its start hides it."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.injection.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)
    return model


def logits_of(model: Mllm, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(batch).logits
    return logits


@pytest.mark.parametrize("name", SILENT)
def test_with_gates_at_zero_logits_are_those_of_the_text_to_the_bit(
    make_model: Make, name: str
) -> None:
    model = make_model(injection=choice(name))
    assert model.num_visual_tokens == 0
    text = [[token for token in row if token != IMAGE] for row in ROWS]
    with_images = logits_of(model, batch_of(ROWS, answers=1))
    assert torch.equal(with_images, logits_of(make_model(), batch_of(text, answers=1)))
    assert not torch.allclose(logits_of(opened(model), batch_of(ROWS, answers=1)), with_images)


@pytest.mark.parametrize("name", LIKE_PREFIX)
def test_some_begin_as_a_prefix(make_model: Make, name: str) -> None:
    model, batch = make_model(injection=choice(name)), batch_of(ROWS, answers=1)
    plain = logits_of(make_model(), batch)
    torch.testing.assert_close(logits_of(model, batch), plain, rtol=0, atol=1e-5)
    if model.injection.num_parameters:
        assert not torch.allclose(logits_of(opened(model), batch), plain)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "adapters"])
def test_text_alone_is_left_as_it_is_also_in_lockstep(make_model: Make, name: str) -> None:
    model = make_model(injection=choice(name))
    opened(model)(batch_of(ROWS))  # whose images must not stay
    text = batch_of([[3, 4, 5, 6], [6, 7, 8]], answers=2)
    plain = make_model()
    if name == "prefix_lm":  # text is a prompt like another
        plain = make_model(injection={"name": "prefix_lm"})
    if not model.injection.before_blocks:
        torch.testing.assert_close(loss_of(model, text), loss_of(plain, text))
    free = loss_of(model, text)
    model.in_lockstep = True
    together = loss_of(model, text)
    torch.testing.assert_close(together, free)
    together.backward()
    missing = [n for n, p in model.injection.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_all_of_it_learns_and_the_encoders_through_it(make_model: Make, name: str) -> None:
    model = opened(make_model(injection=choice(name)))
    loss_of(model, batch_of(ROWS, answers=2)).backward()
    last = "layers.1"  # of whose visual tokens other tokens see keys and values alone
    for parameter, tensor in model.injection.named_parameters():
        assert tensor.grad is not None, parameter
        unseen = model.injection.linears and last in parameter and "k_" not in parameter
        assert unseen or tensor.grad.abs().sum() > 0, parameter
    assert all(p.grad is not None and p.grad.any() for p in model.projector.parameters())
    patches = next(model.mixture.encoders.parameters())
    assert patches.grad is not None
    assert patches.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_same_where_activations_are_computed_again(
    make_model: Make, name: str
) -> None:
    def gradients(again: bool) -> dict[str, torch.Tensor]:
        model = opened(make_model(injection=choice(name)))
        model.llm.train()
        model.checkpoint_activations(EVERYTHING if again else NOTHING)
        loss_of(model, batch_of(ROWS, answers=2)).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, again = gradients(False), gradients(True)
    assert plain.keys() == again.keys()
    for key in plain:
        torch.testing.assert_close(again[key], plain[key], msg=key)


FAMILIES = {
    "mistral": MistralConfig(num_key_value_heads=2, sliding_window=None),
    "qwen2": Qwen2Config(num_key_value_heads=1),
    "qwen3": Qwen3Config(num_key_value_heads=1, head_dim=16),
}


@pytest.fixture(scope="session")
def family(llm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny random language model of a family, in a folder."""

    def folder(name: str) -> Path:
        if name == "llama":
            return llm_folder
        made = tmp_path_factory.getbasetemp() / f"tiny-{name}"
        if not made.is_dir():
            torch.manual_seed(0)
            config = FAMILIES[name]
            size = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48}
            more = {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
            config.update({**size, **more, "max_position_embeddings": 128})
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:2]
            AutoModelForCausalLM.from_config(config).save_pretrained(made)
            AutoTokenizer.from_pretrained(llm_folder).save_pretrained(made)
        return made

    return folder


@pytest.mark.parametrize(
    ("name", "llm"), covering(product(NAMES, ["llama", *FAMILIES]), others=pytest.mark.slow)
)
def test_generation_with_a_cache_is_the_argmax_of_full_forward_passes(
    make_model: Make, family: Callable[[str], Path], name: str, llm: str
) -> None:
    model = opened(make_model(injection=choice(name), llm=family(llm)))
    batch = batch_of(ROWS, left=True)
    answers = model.generate(batch, 5, [])
    visual = model.see(batch.pixels)
    assert model.generate(batch, 5, [], visual=visual) == answers
    begins = 0
    whole = batch_of(ROWS)
    for row, answer in zip(ROWS, answers, strict=True):
        images = row.count(IMAGE)
        own = batch_of([[*row, *answer]], answers=len(answer))
        own = replace(own, pixels=whole.pixels[begins : begins + images])
        begins += images
        predicted = logits_of(model, own)[0].argmax(-1)
        assert predicted[-len(answer) :].tolist() == answer


@pytest.mark.parametrize("name", [name for name in NAMES if name != "deepstack"])
def test_under_a_tiling_each_image_has_as_many_tokens_as_it_is_cut_into(
    make_model: Make, name: str
) -> None:
    tiling = {"name": "internvl", "max_tiles": 3, "thumbnail": True}
    model = opened(make_model(injection=choice(name), tiling=tiling))
    sizes = torch.tensor([[64, 64], [96, 32], [32, 64]])
    views = sum(model.tiles.cut(sizes).views)
    pixels = torch.randint(0, 256, (views, 3, 32, 32), dtype=torch.uint8)
    batch = replace(batch_of(ROWS, answers=2), pixels=pixels, sizes=sizes)
    loss_of(model, batch).backward()
    visual = model.see(pixels, sizes)
    assert len({len(image) for image in visual}) > 1
    asked = replace(batch_of(ROWS, left=True), pixels=pixels, sizes=sizes)
    assert model.generate(asked, 3, [], visual=visual) == model.generate(asked, 3, [])


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_company_change_nothing(make_model: Make, name: str) -> None:
    model = opened(make_model(injection=choice(name)))
    loss = loss_of(model, batch_of(ROWS, answers=2))
    torch.testing.assert_close(loss_of(model, batch_of(ROWS, left=True, answers=2)), loss)
    batch = batch_of(ROWS, left=True)
    together = model.generate(batch, 5, [])
    alone = replace(batch_of(ROWS[2:], left=True), pixels=batch.pixels[1:])
    assert model.generate(alone, 5, []) == together[2:]


@pytest.mark.parametrize("name", NAMES)
def test_no_token_of_an_answer_changes_what_is_predicted_before_it(
    make_model: Make, name: str
) -> None:
    model = opened(make_model(injection=choice(name)))
    first, other = (
        logits_of(model, batch_of([[3, IMAGE, 5, 6, 17, last]], answers=2)) for last in (9, 30)
    )
    assert torch.equal(first, other)


def test_under_a_prefix_lm_mask_a_prompt_sees_its_end_and_an_answer_does_not(
    make_model: Make,
) -> None:
    model = make_model(injection=choice("prefix_lm"))
    kept: list[torch.Tensor] = []
    block = find_blocks(model.llm)[-1]
    block.register_forward_hook(lambda *args: kept.append(args[-1].detach()))
    rows = [[3, 4, 5, 6, 17, 18], [3, 4, 5, 9, 17, 18], [3, 4, 5, 6, 17, 30]]
    for row in rows:
        logits_of(model, batch_of([row], answers=2))
    plain, other_prompt, other_answer = kept
    assert (plain != other_prompt).any(-1).all()
    assert (plain != other_answer).any(-1).tolist() == [[False] * 5 + [True]]


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_a_part_that_is_stored(make_model: Make, tmp_path: Path, name: str) -> None:
    model = opened(make_model(injection=choice(name)))
    assert ("injection" in model.parts) == bool(model.injection.num_parameters)
    batch = batch_of(ROWS, answers=2)
    expected = logits_of(model, batch)
    save_parts(model, tmp_path, list(model.parts))
    other = make_model(injection=choice(name), seed=1)
    load_parts(other, tmp_path, list(other.parts))
    assert torch.equal(logits_of(other, batch), expected)


@pytest.mark.parametrize("name", NAMES)
def test_declared_parameters_and_operations_are_those_measured(make_model: Make, name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(model: Mllm, row: list[int]) -> int:
        batch = batch_of([row], answers=1)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(batch)
        return counter.get_total_flops()

    model, plain = make_model(injection=choice(name), grid=2), make_model(grid=2)
    own, tokens = model.injection, model.projector.num_tokens
    assert own.num_parameters == sum(p.numel() for p in own.parameters())
    row = [IMAGE, *range(3, 10)]
    read = len(row) - 1 + own.context_tokens(tokens)
    without = [token for token in row if token != IMAGE] + [3] * own.context_tokens(tokens)
    seen = flops(plain, row) - flops(plain, [3] * (len(row) - 1 + tokens))  # the vision side
    declared = own.flops(tokens) + read * own.token_flops(tokens)
    found = flops(model, row) - seen - flops(plain, without)
    assert found == pytest.approx(declared, rel=0.02, abs=64)


def built(chosen: dict[str, Any], llm: Any, name: str, tokens: int) -> Injection:
    return build_injection(chosen, llm, name, tokens, cut=False)


def tiny(config: Any) -> Any:
    return AutoModelForCausalLM.from_config(config)


def test_a_language_model_that_does_not_allow_it_is_one_line() -> None:
    with torch.device("meta"):
        gpt = tiny(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=9, n_positions=8))
        experts = tiny(
            Qwen3MoeConfig(
                num_hidden_layers=2,
                hidden_size=8,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=4,
                num_experts=4,
                moe_intermediate_size=4,
            )
        )
        both = T5ForConditionalGeneration(
            T5Config(num_layers=2, d_model=8, d_ff=8, d_kv=4, num_heads=2, vocab_size=9)
        )
    with torch.device("meta"):
        for name in NAMES:
            built(choice(name), gpt, "gpt", 8)
        for name in ("visual_expert", "partial_lora"):
            said = rf"injection '{name}': .* mlp.* in a block of moe .* is of none; take prefix"
            with pytest.raises(UserError, match=said):
                built(choice(name), experts, "moe", 8)
        built(choice("llama_vision"), experts, "moe", 8)
        assert built({"name": "prefix"}, both, "t5", 8).num_parameters == 0
        with pytest.raises(
            UserError, match=r"injection 'prefix_lm': .*t5 .* no list of its blocks"
        ):
            built({"name": "prefix_lm"}, both, "t5", 8)
        with pytest.raises(
            UserError, match="injection 'deepstack': 9 tokens of an image are not 2"
        ):
            built({"name": "deepstack"}, gpt, "gpt", 9)


def test_a_decoder_is_told_as_its_configuration_has_it() -> None:
    with torch.device("meta"):
        llm = tiny(
            Qwen3Config(
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=16,
            )
        )
    found = decoder_of(llm)
    assert (found.width, found.heads, found.key_heads, found.head_width) == (32, 4, 2, 16)
    assert (found.inner, len(found.blocks), len(found.blocks[0])) == (48, 2, 7)
    assert found.blocks[1]["self_attn.q_proj"] == (32, 64, False)


def model_or_reason(make_model: Make, **chosen: Any) -> Mllm | str:
    try:
        return make_model(grid=4, **chosen)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(
    ("name", "connector"), covering(product(NAMES, CONNECTORS.names()), others=pytest.mark.slow)
)
def test_every_pair_with_a_connector_trains_two_steps_and_generates(
    make_model: Make, name: str, connector: str
) -> None:
    """Or says in one line why it cannot."""
    options = {"name": connector, **told(connector, CONNECTORS)}
    model = model_or_reason(make_model, injection=choice(name), connector=options)
    if isinstance(model, str):
        assert "\n" not in model
        return
    batch = batch_of(ROWS, answers=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert [len(answer) for answer in model.generate(batch_of(ROWS, left=True), 2, [])] == [2] * 3


def test_the_documented_example_is_one_like_ours(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert "token_type" in INJECTIONS.names()
    batch = batch_of(ROWS, answers=2)
    model = make_model(injection={"name": "token_type"})
    assert torch.equal(logits_of(model, batch), logits_of(make_model(), batch))
    loss_of(model, batch).backward()
    [vector] = model.injection.parameters()
    assert vector.grad is not None
    assert vector.grad.any()
    assert not torch.allclose(logits_of(opened(model), batch), logits_of(make_model(), batch))
    assert model.generate(batch_of(ROWS, left=True), 2, [])
