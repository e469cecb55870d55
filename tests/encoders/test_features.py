"""Each family's features are the upstream library's own, at the layer the docstring names."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Pix2StructImageProcessor,
    Pix2StructVisionConfig,
    Pix2StructVisionModel,
    SamVisionConfig,
)
from transformers.models.sam.modeling_sam import SamVisionEncoder

from ablate.catalog import encoders as registry
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder
from ablate.encoders.networks import ConvNeXt, Eva
from ablate.errors import UserError


def encoder_of(title: str, **changes: Any) -> Encoder:
    """A random encoder, all its tensors away from their initial zeros."""
    spec = replace(registry.resolve(title), **changes)
    encoder = build_encoder(spec, load_weights=False).eval()
    generator = torch.manual_seed(0)
    for parameter in encoder.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return encoder


def pixels_of(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.manual_seed(1))


def filled(upstream: nn.Module, encoder: Encoder, unused: set[str] = frozenset()) -> Any:  # type: ignore[assignment]
    """The upstream model with the encoder's weights; `unused` are those we do without."""
    state = {name.removeprefix("model."): t for name, t in encoder.state_dict().items()}
    report = upstream.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) == unused
    return upstream.eval()


def normalised(encoder: Encoder, pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.spec.mean, encoder.spec.std))
    return (pixels - mean) / std


def test_clip_is_all_layers_without_class_token_and_closing_norm() -> None:
    encoder = encoder_of("clip-micro")
    upstream = filled(
        CLIPVisionModel(CLIPVisionConfig(**encoder.spec.architecture)),
        encoder,
        {"embeddings.class_embedding", "post_layernorm.weight", "post_layernorm.bias"},
    )
    pixels = pixels_of(32, 32)
    tokens = upstream.embeddings(normalised(encoder, pixels))[:, 1:]
    tokens = upstream.encoder(inputs_embeds=upstream.pre_layrnorm(tokens)).last_hidden_state
    torch.testing.assert_close(encoder(pixels).tokens(), tokens)


def test_convnext_is_the_fourth_stage_without_the_head() -> None:
    encoder = encoder_of("convnext-micro")
    upstream = ConvNeXt(num_classes=0, **encoder.spec.architecture)
    upstream = filled(upstream, encoder, {"head.norm.weight", "head.norm.bias"})
    for size in (128, 128), (64, 160):
        pixels = pixels_of(*size)
        expected = upstream.forward_features(normalised(encoder, pixels))
        torch.testing.assert_close(encoder(pixels).tensor, expected)


def test_a_pyramid_is_the_stages_of_the_published_network() -> None:
    encoder = encoder_of("convnext-micro-pyramid")
    upstream = ConvNeXt(num_classes=0, **encoder.spec.architecture)
    upstream = filled(upstream, encoder, {"head.norm.weight", "head.norm.bias"})
    pixels = pixels_of(128, 128)
    expected = upstream.forward_intermediates(
        normalised(encoder, pixels), intermediates_only=True, norm=False
    )
    found = encoder.maps(pixels)
    assert [one.shape for one in found] == encoder.shapes
    assert [shape.height for shape in encoder.shapes] == [4, 8, 16, 32]
    for one, stage in zip(found, reversed(expected), strict=True):
        torch.testing.assert_close(one.tensor, stage)
    plain = encoder_of("convnext-micro")
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(plain(pixels).tensor, found[0].tensor)


@pytest.mark.parametrize(
    ("title", "says"),
    [("convnext-micro", "it has [(16, 64), (8, 32), (4, 16)]"), ("sam-micro", "has no stages")],
)
def test_a_pyramid_that_an_encoder_does_not_have_is_refused(title: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        encoder_of(title, pyramid=((8, 31),))(pixels_of(128, 128))
    assert says in str(caught.value)


def eva(encoder: Encoder, **changes: Any) -> Eva:
    upstream = Eva(
        **{**encoder.spec.architecture, **changes},
        num_classes=0,
        class_token=False,
        global_pool="",
        use_post_transformer_norm=False,
    )
    return filled(upstream, encoder)


def test_eva02_is_the_last_block_without_norm() -> None:
    encoder = encoder_of("eva02-micro", unshuffle=1)
    pixels = pixels_of(128, 128)
    upstream = eva(encoder)
    expected = upstream.forward_intermediates(
        normalised(encoder, pixels), indices=1, intermediates_only=True
    )[0]
    torch.testing.assert_close(encoder(pixels).tensor, expected)


def test_eva02_stretches_its_rotary_positions_to_the_trained_range() -> None:
    encoder = encoder_of("eva02-micro", unshuffle=1)
    model: Any = encoder.model
    model.pos_embed.data.zero_()  # the absolute ones have a test of their own
    state = {k: v for k, v in model.state_dict().items() if k != "pos_embed"}
    options = {**encoder.spec.architecture, "img_size": (96, 192), "use_abs_pos_emb": False}
    upstream = Eva(**options, num_classes=0, class_token=False, global_pool="").eval()
    upstream.norm = nn.Identity()
    upstream.load_state_dict(state)
    pixels = pixels_of(96, 192)
    expected = upstream.forward_features(normalised(encoder, pixels))
    torch.testing.assert_close(encoder(pixels).tokens(), expected)


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (256, 512)])
def test_pix2struct_is_the_published_processor_and_encoder(size: tuple[int, int]) -> None:
    """Also where the image has more patches than the encoder takes and is shrunk: 256x512."""
    encoder = encoder_of("pix2struct-micro", unshuffle=1, max_patches=100)
    upstream = filled(
        Pix2StructVisionModel(Pix2StructVisionConfig(**encoder.spec.architecture)), encoder
    )
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.manual_seed(1)).byte()
    rows, columns = encoder.spec.patches(*size)
    processor = Pix2StructImageProcessor(max_patches=rows * columns, is_vqa=False)
    inputs = processor(list(images), return_tensors="pt")
    features = encoder(images / 255)
    assert features.shape.grid == (rows, columns)
    with torch.no_grad():
        expected = upstream(**inputs).last_hidden_state
    torch.testing.assert_close(features.tokens(), expected, atol=1e-3, rtol=1e-3)


def test_pix2struct_takes_a_blank_image() -> None:
    blank = torch.zeros(1, 3, 128, 128, requires_grad=True)
    features = encoder_of("pix2struct-micro")(blank).tensor
    features.sum().backward()
    assert features.isfinite().all()
    assert blank.grad is not None
    assert blank.grad.isfinite().all()


def test_sam_is_the_image_encoder_with_its_own_neck() -> None:
    encoder = encoder_of("sam-micro", unshuffle=1)
    upstream = filled(SamVisionEncoder(SamVisionConfig(**encoder.spec.architecture)), encoder)
    pixels = pixels_of(128, 128)
    expected = upstream(normalised(encoder, pixels)).last_hidden_state
    torch.testing.assert_close(encoder(pixels).tensor, expected)


def test_sam_at_another_resolution_is_sam_with_resampled_positions() -> None:
    encoder = encoder_of("sam-micro", unshuffle=1)
    model: Any = encoder.model
    model.pos_embed.data[:] = model.pos_embed.data[:, :1, :1]  # the same everywhere: no resampling
    options = {**encoder.spec.architecture, "image_size": 192}
    upstream = SamVisionEncoder(SamVisionConfig(**options)).eval()
    state = model.state_dict()
    state["pos_embed"] = model.pos_embed[:, :1, :1].expand_as(upstream.pos_embed)
    for name in upstream.state_dict():
        if "rel_pos" in name:
            size = upstream.state_dict()[name].shape[0]
            state[name] = nn.functional.interpolate(state[name].T[None], size, mode="linear")[0].T
    upstream.load_state_dict(state)
    pixels = pixels_of(192, 192)
    expected = upstream(normalised(encoder, pixels)).last_hidden_state
    torch.testing.assert_close(encoder(pixels).tensor, expected)


@pytest.mark.parametrize("size", [(64, 64), (96, 48)])
def test_dinov2_is_the_patch_tokens_after_the_closing_norm(size: tuple[int, int]) -> None:
    encoder = encoder_of("dinov2-micro", unshuffle=1)
    upstream = filled(Dinov2Model(Dinov2Config(**encoder.spec.architecture)), encoder)
    pixels = pixels_of(*size)
    expected = upstream(normalised(encoder, pixels)).last_hidden_state[:, 1:]
    torch.testing.assert_close(encoder(pixels).tokens(), expected)


def test_unshuffle_puts_a_square_of_positions_into_channels() -> None:
    """Out channel = 4c + 2 dy + dx, as in EAGLE's use of SAM."""
    fine = encoder_of("sam-micro", unshuffle=1)(pixels_of(128, 128)).tensor
    coarse = encoder_of("sam-micro")(pixels_of(128, 128)).tensor
    assert coarse.shape == (2, 256, 4, 4)
    for c, dy, dx in (0, 0, 0), (5, 0, 1), (7, 1, 0), (63, 1, 1):
        assert torch.equal(coarse[:, 4 * c + 2 * dy + dx], fine[:, c, dy::2, dx::2])
