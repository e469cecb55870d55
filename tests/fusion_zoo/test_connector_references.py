"""Connectors give what the reference implementations in transformers and timm give, same weights.

B batch, N tokens, C channels, D width of the language model.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from connector_toys import scrambled
from timm.layers import LayerNorm2d
from timm.models.regnet import RegStage
from torch import Tensor, nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    DeformableDetrConfig,
    Idefics3Config,
    IdeficsConfig,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
    InternVLConfig,
    LlavaConfig,
    PerceptionLMConfig,
)
from transformers.models.cohere2_vision import modeling_cohere2_vision as cohere
from transformers.models.deformable_detr import modeling_deformable_detr as detr
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
from transformers.models.internvl.modeling_internvl import (
    InternVLModel,
    InternVLMultiModalProjector,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector
from transformers.models.perception_lm.modeling_perception_lm import PerceptionLMMultiModalProjector
from transformers.models.qwen2_vl.modeling_qwen2_vl import PatchMerger

from fusion_zoo import Instruction, Segment
from fusion_zoo.connectors import CONNECTORS

C, D, GRID, N = 20, 32, (6, 6), 36


def ours(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    connector = CONNECTORS.build(name, [Segment(N, C)], [GRID], D, **options)
    scrambled(connector)
    return connector


def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a reference these weights: all of its own, no more."""
    module.load_state_dict(dict(weights), strict=True)
    module.eval()


def linear(prefix: str, layer: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in layer.state_dict().items()}


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_mlp_is_llavas() -> None:
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": C,
            "num_attention_heads": 2,
        },
        text_config={"model_type": "llama", "hidden_size": D},
        vision_feature_layer=-2,
    )
    reference, connector, x = LlavaMultiModalProjector(config), ours("mlp"), torch.randn(2, N, C)
    first, _, last = connector.layers[0]
    fill(reference, linear("linear_1", first) | linear("linear_2", last))
    same(connector([x]), reference(x))


@torch.no_grad()
def test_pooling_after_the_layers_is_perception_lms() -> None:
    config = PerceptionLMConfig(
        vision_config={"model_args": {"embed_dim": C}, "architecture": "vit_base_patch16_224"},
        text_config={"model_type": "llama", "hidden_size": D},
        projector_pooling_ratio=2,
    )
    reference = PerceptionLMMultiModalProjector(config)
    connector, x = ours("pooling", after=True), torch.randn(2, N, C)
    first, _, last = connector.layers[0].layers
    fill(reference, linear("linear_1", first) | linear("linear_2", last))
    same(connector([x]), reference(x))


@torch.no_grad()
def test_pixel_shuffle_is_internvls() -> None:
    config = InternVLConfig(
        vision_config={"hidden_size": C, "num_hidden_layers": 1, "num_attention_heads": 2},
        text_config={
            "model_type": "llama",
            "hidden_size": D,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 8,
            "vocab_size": 8,
        },
    )
    reference, connector = InternVLMultiModalProjector(config), ours("pixel_shuffle")
    norm, first, _, last = connector.layers[0].layers
    fill(
        reference,
        linear("layer_norm", norm) | linear("linear_1", first) | linear("linear_2", last),
    )
    x = torch.randn(2, N, C)
    shuffled = InternVLModel.pixel_shuffle(None, x.unflatten(1, GRID), scale_factor=0.5)
    same(connector([x]), reference(shuffled.flatten(1, 2)))


@torch.no_grad()
@pytest.mark.parametrize("size", [2, 3])
def test_pixel_shuffle_is_idefics3s(size: int) -> None:
    config = Idefics3Config(
        scale_factor=size,
        vision_config={"hidden_size": C},
        text_config={"model_type": "llama", "hidden_size": D},
    )
    reference = Idefics3Connector(config)
    connector, x = ours("pixel_shuffle", style="idefics3", size=size), torch.randn(2, N, C)
    (layer,) = connector.layers[0].layers
    fill(reference, linear("modality_projection.proj", layer))
    same(connector([x]), reference(x))


@torch.no_grad()
def test_pixel_shuffle_is_qwen2_vls_merger() -> None:
    reference = PatchMerger(D, C, 2)
    connector, x = ours("pixel_shuffle", style="qwen2_vl"), torch.randn(2, N, C)
    layer = connector.layers[0]
    fill(reference, linear("ln_q", layer.before) | linear("mlp", layer.layers))
    blocks = x.unflatten(1, (3, 2, 3, 2)).transpose(2, 3)  # the order in which Qwen's patches come
    same(connector([x]).flatten(0, 1), reference(blocks.reshape(-1, C)))


@torch.no_grad()
def test_pixel_shuffle_is_ayas() -> None:
    config = cohere.Cohere2VisionConfig(
        vision_config={"hidden_size": C, "num_attention_heads": 2},
        text_config={"model_type": "llama", "hidden_size": D},
        alignment_intermediate_size=24,
    )
    reference = cohere.Cohere2VisionMultiModalProjector(config)
    connector, x = ours("pixel_shuffle", style="aya", gate=24), torch.randn(2, N, C)
    first, _, last = connector.layers[0].layers
    fill(reference, linear("linear_1", first) | linear("linear_2", last))
    same(connector([x]), reference(x).flatten(1, 2))


FORMER = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 4,
    "intermediate_size": 96,
    "encoder_hidden_size": C,
    "vocab_size": 11,
}


def attention(prefix: str, layer: nn.Module, norm: nn.Module) -> dict[str, Tensor]:
    parts = {name: getattr(layer, name) for name in ("query", "key", "value")}
    found = {}
    for name, part in parts.items():
        found |= linear(f"{prefix}.attention.{name}", part)
    return (
        found
        | linear(f"{prefix}.output.dense", layer.output)
        | linear(f"{prefix}.output.LayerNorm", norm)
    )


def feed(prefix: str, suffix: str, layer: Any, norm: nn.Module) -> dict[str, Tensor]:
    return (
        linear(f"{prefix}.intermediate{suffix}.dense", layer[0])
        | linear(f"{prefix}.output{suffix}.dense", layer[2])
        | linear(f"{prefix}.output{suffix}.LayerNorm", norm)
    )


def fill_former(reference: nn.Module, former: Any, norm: str) -> None:
    """All but what reads words, and the last layer's for text, which the queries do not see."""
    weights = linear(norm, former.norm)
    for number, block in enumerate(former.blocks):
        at = f"encoder.layer.{number}"
        weights |= attention(f"{at}.attention", block.attention, block.attention_norm)
        weights |= feed(at, "_query", block.feed, block.feed_norm)
        if block.reads:
            weights |= attention(f"{at}.crossattention", block.cross, block.cross_norm)
        if block.writes:
            weights |= feed(at, "", block.text_feed, block.text_norm)
    left = reference.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    last = f"encoder.layer.{len(former.blocks) - 1}."
    for name in left.missing_keys:
        assert "embeddings" in name or name.startswith((f"{last}intermediate.", f"{last}output."))
    reference.eval()


@torch.no_grad()
def test_the_q_former_is_blip_2s() -> None:
    reference = Blip2QFormerModel(Blip2QFormerConfig(**FORMER))
    connector = ours("qformer", queries=5, inner=24, layers=4, heads=3)
    former = connector.layers[0].former
    fill_former(reference, former, "layernorm")
    x = torch.randn(2, N, C)
    expected = reference(
        query_embeds=former.queries.expand(2, -1, -1), encoder_hidden_states=x
    ).last_hidden_state
    same(former(x), expected)
    same(connector([x]), connector.layers[0].projection(expected))


@torch.no_grad()
@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_q_former_that_reads_the_instruction_is_instruct_blips(every: int) -> None:
    config = InstructBlipQFormerConfig(**FORMER, cross_attention_frequency=every)
    reference = InstructBlipQFormerModel(config)
    connector = ours(
        "qformer", queries=5, inner=24, layers=4, heads=3, every=every, instruction=True
    )
    former = connector.layers[0].former
    fill_former(reference, former, "embeddings.layernorm")
    words, table = torch.tensor([[3, 5, 9], [4, 8, 0]]), reference.embeddings
    nn.init.normal_(table.word_embeddings.weight)
    table.position_embeddings.weight.copy_(former.places)
    said = torch.randn(11, D)  # the language model's own embeddings of the eleven words
    table.word_embeddings.weight.copy_(former.text(said))
    mask, x = torch.tensor([[1, 1, 1], [1, 1, 0]]), torch.randn(2, N, C)
    expected = reference(
        input_ids=words,
        attention_mask=torch.cat([torch.ones(2, 5, dtype=torch.long), mask], dim=1),
        query_embeds=former.queries.expand(2, -1, -1),
        encoder_hidden_states=x,
    ).last_hidden_state[:, :5]
    context = Instruction(said[words] * mask[..., None], mask.bool())
    same(former(x, context), expected)


@torch.no_grad()
def test_the_perceiver_is_idefics_with_flamingos_gelu() -> None:
    config = IdeficsConfig(vision_config={"embed_dim": C})
    config.perceiver_config.qk_layer_norms_perceiver = False
    reference = IdeficsPerceiverResampler(config, C, depth=3, n_heads=2, head_dim=7, n_latents=5)
    connector = ours("perceiver_resampler", queries=5, depth=3, heads=2, head_width=7)
    own = connector.layers[0]
    weights = {"latents": own.latents} | linear("layer_norm", own.norm)
    for number, layer in enumerate(own.layers):
        at = f"blocks.{number}"
        weights |= linear(f"{at}.0.context_layer_norm", layer.token_norm)
        weights |= linear(f"{at}.0.latents_layer_norm", layer.latent_norm)
        weights |= linear(f"{at}.0.q_proj", layer.attention.query)
        weights |= linear(f"{at}.0.k_proj", layer.attention.key)
        weights |= linear(f"{at}.0.v_proj", layer.attention.value)
        weights |= linear(f"{at}.0.output_proj", layer.attention.output)
        weights |= linear(f"{at}.1.ln", layer.feed_norm)
        weights |= linear(f"{at}.1.fc", layer.feed[0]) | linear(f"{at}.1.c_proj", layer.feed[2])
    fill(reference, weights)
    for _, feed_forward in reference.blocks:
        feed_forward.act = nn.GELU()
    x = torch.randn(2, N, C)
    same(connector([x]), own.projection(reference(x)))


def normed(prefix: str, layer: Any) -> dict[str, Tensor]:
    return linear(f"{prefix}.conv", layer.convolution) | linear(f"{prefix}.bn", layer.norm)


@torch.no_grad()
def test_the_c_abstractors_stages_are_timms() -> None:
    connector = ours("c_abstractor", queries=9, inner=16, depth=2)
    own = connector.layers[0]
    x = torch.randn(2, N, C)
    image = (x + own.places).transpose(1, 2).unflatten(2, GRID)
    for inputs, stage in (C, own.before), (16, own.after):
        reference = RegStage(
            2, inputs, 16, stride=1, dilation=1, act_layer=nn.SiLU, norm_layer=LayerNorm2d
        )
        weights: dict[str, Tensor] = {}
        for number, block in enumerate(stage, start=1):
            weights |= normed(f"b{number}.conv1", block.first)
            weights |= normed(f"b{number}.conv2", block.second)
            weights |= normed(f"b{number}.conv3", block.third)
            weights |= linear(f"b{number}.se.fc1", block.squeeze)
            weights |= linear(f"b{number}.se.fc2", block.excite)
            if block.shortcut:
                weights |= normed(f"b{number}.downsample", block.shortcut)
        fill(reference, weights)
        image = reference(image)
        if stage is own.before:
            image = nn.functional.adaptive_avg_pool2d(image, (3, 3))
    first, _, last = own.read
    expected = last(nn.functional.silu(first(image.flatten(2).transpose(1, 2))))
    torch.testing.assert_close(connector([x]), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_d_abstractors_layers_are_deformable_detrs() -> None:
    connector = ours("d_abstractor", queries=9, inner=16, layers=2, heads=2, points=3, feed=12)
    own = connector.layers[0]
    own.points.uniform_(0.1, 0.9)
    config = DeformableDetrConfig(
        d_model=16,
        decoder_attention_heads=2,
        decoder_ffn_dim=12,
        decoder_n_points=3,
        num_feature_levels=1,
        activation_function="relu",
    )
    config._attn_implementation = "eager"
    x = torch.randn(2, N, C)
    visual = own.reduce(x) + own.places
    image = visual.transpose(1, 2).unflatten(2, GRID)
    around = nn.functional.adaptive_avg_pool2d(image, (3, 3)).flatten(2).transpose(1, 2)
    rows = own.queries.expand(2, -1, -1)
    for layer in own.layers:
        reference = detr.DeformableDetrDecoderLayer(config)
        attention, sampling = layer.attention, layer.sampling
        weights = linear("self_attn.q_proj", attention.query)
        weights |= linear("self_attn.k_proj", attention.key)
        weights |= linear("self_attn.v_proj", attention.value)
        weights |= linear("self_attn.o_proj", attention.output)
        weights |= linear("self_attn_layer_norm", layer.attention_norm)
        weights |= linear("encoder_attn.sampling_offsets", sampling.offsets)
        weights |= linear("encoder_attn.attention_weights", sampling.weights)
        weights |= linear("encoder_attn.value_proj", sampling.value)
        weights |= linear("encoder_attn.output_proj", sampling.output)
        weights |= linear("encoder_attn_layer_norm", layer.sampling_norm)
        weights |= linear("mlp.fc1", layer.feed[0]) | linear("mlp.fc2", layer.feed[2])
        weights |= linear("final_layer_norm", layer.feed_norm)
        fill(reference, weights)
        rows = reference(
            rows,
            object_queries_position_embeddings=around,
            reference_points=own.points[None, :, None].expand(2, -1, 1, -1),
            spatial_shapes=torch.tensor([GRID]),
            spatial_shapes_list=[GRID],
            level_start_index=torch.tensor([0]),
            encoder_hidden_states=visual,
        )
    torch.testing.assert_close(connector([x]), own.projection(rows), atol=1e-5, rtol=1e-5)


def test_the_d_abstractor_starts_at_the_uniform_grid() -> None:
    connector = CONNECTORS.build("d_abstractor", [Segment(24, C)], [(4, 6)], D, queries=4)
    expected = [[0.5 / 6, 0.5 / 4], [5.5 / 6, 0.5 / 4], [0.5 / 6, 3.5 / 4], [5.5 / 6, 3.5 / 4]]
    torch.testing.assert_close(connector.layers[0].points.detach(), torch.tensor(expected))
