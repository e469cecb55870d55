"""Each injection does the published sums: to the digit those of transformers' own layers where it
has them, else those of loops in float64 that share no code with it.

B conversations, S tokens, M media, D width. References work on one token at a time.
"""

import math

import numpy as np
import pytest
import torch
from injection_toys import EPS, HEADS, INNER, KEY_HEADS, LINEARS, WIDTH, decoder, scramble, seen_of
from numpy.typing import NDArray
from torch import nn
from transformers.models.idefics.configuration_idefics import IdeficsConfig
from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer
from transformers.models.mllama.configuration_mllama import MllamaTextConfig
from transformers.models.mllama.modeling_mllama import MllamaCrossAttentionDecoderLayer
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from fusion_zoo.injections import INJECTIONS, Injection, Seen

Array = NDArray[np.float64]
BEGUN = [[0, 1, 1, 2, 2], [0, 0, 1, 1, 1]]


def array(x: torch.Tensor) -> Array:
    return np.asarray(x.detach().numpy(), dtype=np.float64)


def hidden() -> torch.Tensor:
    return torch.randn(2, 5, WIDTH, generator=torch.manual_seed(4))


def built(name: str, blocks: int = 4, **options: int | float | bool) -> Injection:
    injection: Injection = INJECTIONS.build(name, decoder(blocks), **options)
    scramble(injection)
    return injection.eval()


def copy(block: nn.Module, theirs: nn.Module, names: dict[str, str]) -> None:
    """Give their layer our weights, by our name and theirs."""
    own = dict(block.named_parameters())
    assert own.keys() == names.keys()
    target = dict(theirs.named_parameters())
    assert set(names.values()) == target.keys()
    with torch.no_grad():
        for our, their in names.items():
            target[their].copy_(own[our].view_as(target[their]))


SHARED = {
    "attention_norm.weight": "input_layernorm.weight",
    "feed_forward_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.gate.weight": "mlp.gate_proj.weight",
    "feed_forward.up.weight": "mlp.up_proj.weight",
    "feed_forward.down.weight": "mlp.down_proj.weight",
    "attention.query.weight": "cross_attn.q_proj.weight",
    "attention.key.weight": "cross_attn.k_proj.weight",
    "attention.value.weight": "cross_attn.v_proj.weight",
    "attention.output.weight": "cross_attn.o_proj.weight",
}


@pytest.mark.parametrize("norms", [False, True])
def test_idefics_cross_attention_is_that_of_transformers(norms: bool) -> None:
    ours = built("idefics_cross_attention", every=2, norms=norms)
    assert ours.before_blocks == (0, 2)
    config = IdeficsConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_attention_heads=HEADS,
        rms_norm_eps=EPS,
        qk_layer_norms=norms,
        vision_config={"embed_dim": WIDTH},
        attn_implementation="sdpa",
    )
    theirs = IdeficsGatedCrossAttentionLayer(config, layer_idx=0).eval()
    of_heads = {
        "attention.query_norm.weight": "cross_attn.q_layer_norm.weight",
        "attention.key_norm.weight": "cross_attn.k_layer_norm.weight",
    }
    block = ours.get_submodule("layers.2")
    gates = {"attention_gate": "alpha_cross_attn", "feed_forward_gate": "alpha_dense"}
    copy(block, theirs, {**SHARED, **gates, **(of_heads if norms else {})})
    seen, x = seen_of(BEGUN, [], media=3), hidden()
    allowed = seen.latest()
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo().min)
    expected = theirs(
        x,
        image_hidden_states=seen.media,
        image_attention_mask=mask[:, None],
        cross_attention_gate=allowed.any(-1).long(),
    )
    torch.testing.assert_close(ours.before(2, x, seen), expected, rtol=0, atol=1e-6)


def test_llama_vision_is_the_layer_of_mllama_where_a_token_sees_an_image() -> None:
    ours = built("llama_vision")
    assert ours.before_blocks == (3,)
    config = MllamaTextConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        rms_norm_eps=EPS,
        attn_implementation="sdpa",
    )
    theirs = MllamaCrossAttentionDecoderLayer(config, layer_idx=3).eval()
    more = {
        "attention.query_norm.weight": "cross_attn.q_norm.weight",
        "attention.key_norm.weight": "cross_attn.k_norm.weight",
        "attention_gate": "cross_attn_attn_gate",
        "feed_forward_gate": "cross_attn_mlp_gate",
    }
    copy(ours.get_submodule("layers.3"), theirs, {**SHARED, **more})
    seen, x = seen_of(BEGUN, [], media=3), hidden()
    allowed = seen.before()
    sees = allowed.any(-1)
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo().min)
    expected = theirs(
        x,
        cross_attention_states=seen.media,
        cross_attention_mask=mask[:, None],
        attention_mask=None,
        full_text_row_masked_out_mask=sees[:, None, :, None].float(),
    )
    found = ours.before(3, x, seen)
    torch.testing.assert_close(found[sees], expected[sees], rtol=0, atol=1e-6)
    assert torch.equal(found[~sees], x[~sees])


def test_llama_vision_stands_where_the_released_model_has_its_further_layers() -> None:
    ours: Injection = INJECTIONS.build("llama_vision", decoder(32))
    with_ours = [n for block in range(32) for n in [-1] * (block in ours.before_blocks) + [block]]
    assert [n for n, own in enumerate(with_ours) if own == -1] == [3, 8, 13, 18, 23, 28, 33, 38]


def layer_norm(x: Array, layer: nn.Module) -> Array:
    centred = x - x.mean()
    scaled = centred / math.sqrt((centred**2).mean() + 1e-5)
    return scaled * array(layer.weight) + array(layer.bias)


def gelu(x: Array) -> Array:
    return np.array([0.5 * one * (1 + math.erf(one / math.sqrt(2))) for one in x])


def flamingo_token(x: Array, media: Array, block: nn.Module, heads: int, head_width: int) -> Array:
    """One token (D,) that sees the media (n,D)."""

    def weight(name: str) -> Array:
        return array(block.get_parameter(f"{name}.weight"))

    found = np.zeros(heads * head_width)
    query = weight("attention.query") @ layer_norm(x, block.get_submodule("attention_norm"))
    for head in range(heads if len(media) else 0):
        own = slice(head * head_width, (head + 1) * head_width)
        keys = [(weight("attention.key") @ one)[own] for one in media]
        scores = np.array([query[own] @ key / math.sqrt(head_width) for key in keys])
        chances = np.exp(scores) / np.exp(scores).sum()
        for chance, one in zip(chances, media, strict=True):
            found[own] += chance * (weight("attention.value") @ one)[own]
    gates = (
        array(block.get_parameter("attention_gate")),
        array(block.get_parameter("feed_forward_gate")),
    )
    x = x + math.tanh(gates[0][0]) * (weight("attention.output") @ found)
    inner = weight("feed_forward.0") @ layer_norm(x, block.get_submodule("feed_forward_norm"))
    return x + math.tanh(gates[1][0]) * (weight("feed_forward.2") @ gelu(inner))


@pytest.mark.parametrize("last_image", [True, False])
def test_gated_cross_attention_is_flamingo_s(last_image: bool) -> None:
    ours = built("gated_cross_attention", every=2, heads=3, head_width=5, last_image=last_image)
    assert ours.before_blocks == (1, 3)
    seen, x = seen_of(BEGUN, [], media=3), hidden()
    block = ours.get_submodule("layers.1")
    images = [array(one) for one in seen.images]
    of_row = [images[:2], images[2:]]
    expected = np.zeros((2, 5, WIDTH))
    for row, begun in enumerate(BEGUN):
        for step, count in enumerate(begun):
            visible = of_row[row][max(count - 1, 0) if last_image else 0 : count]
            media = np.concatenate(visible) if visible else np.zeros((0, WIDTH))
            expected[row, step] = flamingo_token(array(x[row, step]), media, block, 3, 5)
    np.testing.assert_allclose(array(ours.before(1, x, seen)), expected, atol=1e-5)


def test_adapters_are_lynx_s() -> None:
    ours = built("adapters")
    assert ours.after_blocks == (0, 2)
    seen, x = seen_of(BEGUN, [], media=0), hidden()
    block = ours.get_submodule("layers.2")
    down, up = block.get_submodule("down"), block.get_submodule("up")
    expected = np.zeros((2, 5, WIDTH))
    for row in range(2):
        for step in range(5):
            one = array(x[row, step])
            inner = array(down.weight) @ layer_norm(one, block.get_submodule("norm"))
            inner = inner + array(down.bias)
            inner = np.array([value / (1 + math.exp(-value)) for value in inner])
            made = array(up.weight) @ inner + array(up.bias)
            expected[row, step] = one + array(block.get_parameter("scale"))[0] * made
    assert down.out_features == WIDTH // 2
    np.testing.assert_allclose(array(ours.after(2, x, seen)), expected, atol=1e-5)


def test_adapters_begin_as_lynx_s_do() -> None:
    ours: Injection = INJECTIONS.build("adapters", decoder())
    drawn = torch.cat([p.flatten() for n, p in ours.named_parameters() if "n.weight" in n])
    assert 0.018 < drawn.std().item() < 0.022
    assert all(not p.any() for n, p in ours.named_parameters() if "n.bias" in n)


PLACES = [[1, 2], [3, 4], [7, 8]]  # of the 10 tokens of two conversations


def visual_rows() -> list[bool]:
    return [any(place in image for image in PLACES) for place in range(10)]


@pytest.mark.parametrize("name", LINEARS)
def test_a_visual_expert_has_the_visual_tokens_alone(name: str) -> None:
    ours = built("visual_expert", every=2)
    assert {block for block, _ in ours.linears} == {0, 2}
    seen = seen_of(BEGUN, PLACES, media=0)
    shape = LINEARS[name]
    draw = torch.manual_seed(5)
    x = torch.randn(2, 5, shape.inputs, generator=draw)
    y = torch.randn(2, 5, shape.outputs, generator=draw)
    layer = ours.get_submodule(f"layers.2.{name.replace('.', '_')}")
    expected = array(y).reshape(10, -1)
    for place, visual in enumerate(visual_rows()):
        if visual:
            expected[place] = array(layer.weight) @ array(x.flatten(0, 1)[place])
            expected[place] += array(layer.bias) if shape.bias else 0
    found = ours.linear(2, name, x, y, seen).flatten(0, 1)
    np.testing.assert_allclose(array(found), expected, atol=1e-5)


def test_a_visual_expert_begins_as_the_layer_beside_it() -> None:
    ours: Injection = INJECTIONS.build("visual_expert", decoder())
    seen, x = seen_of(BEGUN, PLACES, media=0), hidden()
    layer = nn.Linear(16, 16)
    ours.start(1, "self_attn.q_proj", layer.weight, layer.bias)
    y = layer(x)
    found = ours.linear(1, "self_attn.q_proj", x, y, seen)
    torch.testing.assert_close(found, y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LINEARS)
def test_partial_lora_adds_to_the_visual_tokens_alone(name: str) -> None:
    ours = built("partial_lora", rank=3, alpha=6.0)
    seen = seen_of(BEGUN, PLACES, media=0)
    shape = LINEARS[name]
    x = torch.randn(2, 5, shape.inputs, generator=torch.manual_seed(5))
    y = torch.randn(2, 5, shape.outputs)
    layer = ours.get_submodule(f"layers.1.{name.replace('.', '_')}")
    first, second = (array(p) for p in layer.parameters())  # A (rank, in), B (out, rank)
    assert (first.shape, second.shape) == ((3, shape.inputs), (shape.outputs, 3))
    expected = array(y).reshape(10, -1)
    for place, visual in enumerate(visual_rows()):
        if visual:
            expected[place] += 2.0 * second @ (first @ array(x.flatten(0, 1)[place]))
    found = ours.linear(1, name, x, y, seen).flatten(0, 1)
    np.testing.assert_allclose(array(found), expected, atol=1e-5)


def test_deepstack_adds_as_qwen3_vl_does() -> None:
    """A whole text model of theirs, given the stacks, and the same with ours behind its blocks."""
    torch.manual_seed(6)
    config = Qwen3VLTextConfig(
        vocab_size=8,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        head_dim=4,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 1e4},
    )
    theirs = Qwen3VLTextModel(config).eval()
    ours = built("deepstack", stacks=4)
    assert ours.after_blocks == (0, 1, 2)
    assert ours.context_tokens(8) == 2
    seen, x = seen_of(BEGUN, PLACES, media=6), hidden()
    stacks = [torch.cat([one[2 * n : 2 * n + 2] for one in seen.images]) for n in range(3)]
    rows = torch.tensor(visual_rows()).view(2, 5)
    expected = theirs(
        inputs_embeds=x, visual_pos_masks=rows, deepstack_visual_embeds=stacks
    ).last_hidden_state
    plain = theirs(inputs_embeds=x).last_hidden_state
    for block in ours.after_blocks:
        theirs.layers[block].register_forward_hook(
            lambda _, __, out, block=block: ours.after(block, out, seen)
        )
    found = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(expected, plain)


def test_the_prompt_is_seen_both_ways_under_a_prefix_lm_mask() -> None:
    ours = built("prefix_lm")
    seen = seen_of(BEGUN, PLACES, media=0, prompt=[3, 5])
    assert ours.two_way(seen).tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_a_token_sees_the_images_that_begin_before_it() -> None:
    seen = seen_of([[0, 1, 2]], [], media=1)
    assert seen.before().tolist() == [[[False, False], [True, False], [True, True]]]
    assert seen.latest().tolist() == [[[False, False], [True, False], [False, True]]]
    later: Seen = seen.next()
    assert later.before().tolist() == [[[True, True]]]
    assert later.latest().tolist() == [[[False, True]]]
    assert not later.prompt.any()


def test_no_parameter_is_a_scalar_and_names_are_found() -> None:
    assert {"prefix", "prefix_lm", "deepstack", "visual_expert"} <= set(INJECTIONS.names())
    for name in INJECTIONS.names():
        injection: Injection = INJECTIONS.build(name, decoder())
        assert all(parameter.ndim for parameter in injection.parameters())
        assert INJECTIONS.describe(name)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gated_cross_attention", {"every": 5}, "every is 5, but there are 4 blocks; take 1 to 4"),
        ("llama_vision", {"every": 0}, "every is 0, but there are 4 blocks; take 1 to 4"),
        ("gated_cross_attention", {"heads": 0}, "0 heads of 64: both are at least 1"),
        ("deepstack", {"stacks": 6}, "6 stacks, every 1 blocks of 4: take 2 to 5 stacks"),
        ("partial_lora", {"rank": 0}, "rank is at least 1"),
        ("adapters", {"reduction": 17}, "reduction is 17; take 1 to the width, 16"),
    ],
)
def test_an_option_out_of_range_is_one_line(name: str, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        INJECTIONS.build(name, decoder(), **options)


def test_a_number_of_tokens_that_is_no_stack_is_one_line() -> None:
    with pytest.raises(ValueError, match="9 tokens of an image are not 2 runs of one size"):
        built("deepstack").context_tokens(9)
