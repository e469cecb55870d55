"""Toy checkpoints in the published formats, made with the upstream classes where they exist: the
encoder built from them gives upstream's own features."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_toys import REPOSITORY, TEXT, eva02_state, internvit_state, sam_model, scattered
from encoder_toys import CLIP, EVA02_DET, INTERNVIT, SAM, SAM_SHORT, SIGLIP, find
from references import eva02_detector, internvit
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    Pix2StructConfig,
    Pix2StructForConditionalGeneration,
    Pix2StructImageProcessor,
    SiglipConfig,
    SiglipModel,
)

from ablate.catalog import encoders as registry
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder
from ablate.encoders.networks import ConvNeXt
from ablate.encoders.published import translated


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a published repository on this machine."""
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    return tmp_path / REPOSITORY


def published(spec: EncoderSpec, file: str = "model.safetensors") -> EncoderSpec:
    return dataclasses.replace(spec, weights=Weights("published", REPOSITORY, file=file))


def pixels_of(spec: EncoderSpec) -> Tensor:
    size = spec.resolution
    return torch.rand(2, 3, size, size, generator=torch.manual_seed(1))


def normalised(spec: EncoderSpec, pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(value)[:, None, None] for value in (spec.mean, spec.std))
    return (pixels - mean) / std


def built(spec: EncoderSpec) -> Encoder:
    """The encoder with its published weights, none of them left as they were drawn."""
    return build_encoder(spec).eval()


class Draws(TorchDispatchMode):
    """Counts the tensors that are filled at random."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in {"normal_", "uniform_"}
        return func(*args, **(kwargs or {}))


def test_an_encoder_to_be_loaded_draws_no_random_numbers_first(repository: Path) -> None:
    Dinov2Model(Dinov2Config(**find("dinov2-micro").architecture)).save_pretrained(repository)
    spec = dataclasses.replace(published(find("dinov2-micro")), unshuffle=1)
    for load_weights in (True, False):
        with Draws() as draws:
            build_encoder(spec, load_weights=load_weights)
        assert (draws.count == 0) == load_weights


def test_clip(repository: Path) -> None:
    config = CLIPConfig(vision_config=dict(CLIP.architecture), text_config=TEXT)
    upstream = scattered(CLIPModel(config))
    upstream.save_pretrained(repository)
    pixels = pixels_of(CLIP)
    vision = upstream.vision_model
    tokens = vision.embeddings(normalised(CLIP, pixels))[:, 1:]
    expected = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
    torch.testing.assert_close(built(published(CLIP))(pixels).tokens(), expected)


def test_siglip(repository: Path) -> None:
    config = SiglipConfig(vision_config=dict(SIGLIP.architecture), text_config=TEXT)
    upstream = scattered(SiglipModel(config))
    upstream.save_pretrained(repository)
    encoder = built(published(SIGLIP))
    for size in (32, 32), (48, 80):
        pixels = torch.rand(2, 3, *size)
        expected = upstream.vision_model(
            normalised(SIGLIP, pixels), interpolate_pos_encoding=True
        ).last_hidden_state
        torch.testing.assert_close(encoder(pixels).tokens(), expected)


def test_siglip_leaves_out_a_border_too_narrow_for_a_patch(repository: Path) -> None:
    architecture = {**SIGLIP.architecture, "image_size": 38}
    spec = dataclasses.replace(SIGLIP, architecture=architecture, ragged=True, resolution=38)
    config = SiglipConfig(vision_config=dict(architecture), text_config=TEXT)
    upstream = scattered(SiglipModel(config))
    upstream.save_pretrained(repository)
    features = built(published(spec))(pixels_of(spec))
    assert features.shape.grid == spec.grid == (4, 4)
    expected = upstream.vision_model(normalised(spec, pixels_of(spec))).last_hidden_state
    torch.testing.assert_close(features.tokens(), expected)


def test_sam_with_its_neck(repository: Path) -> None:
    upstream = sam_model()
    upstream.save_pretrained(repository)
    pixels = pixels_of(SAM)
    fine = upstream.vision_encoder(normalised(SAM, pixels)).last_hidden_state
    expected = nn.functional.pixel_unshuffle(fine, 2)
    torch.testing.assert_close(built(published(SAM))(pixels).tensor, expected)


def test_sam_with_a_short_neck_that_starts_at_random(repository: Path) -> None:
    upstream = sam_model()
    upstream.save_pretrained(repository)
    encoder = built(published(SAM_SHORT))
    other = built(dataclasses.replace(published(SAM_SHORT), init_seed=1))
    neck: Any = encoder.get_submodule("model.neck")
    assert not torch.equal(neck.conv.weight, other.get_parameter("model.neck.conv.weight"))
    pixels = pixels_of(SAM)
    features: list[Tensor] = []
    upstream.vision_encoder.neck.register_forward_pre_hook(lambda _, given: features.append(*given))
    upstream.vision_encoder(normalised(SAM, pixels))
    convolved = torch.einsum("bhwc,oc->bohw", features[0], neck.conv.weight[:, :, 0, 0])
    centred = convolved - convolved.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    expected = nn.functional.pixel_unshuffle(scaled, 2)
    torch.testing.assert_close(encoder(pixels).tensor, expected)


def test_pix2struct(repository: Path) -> None:
    spec = dataclasses.replace(find("pix2struct-micro"), max_patches=49)
    text = {"hidden_size": 96, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    config = Pix2StructConfig(
        vision_config=dict(spec.architecture), text_config={**text, "vocab_size": 10}
    )
    upstream = scattered(Pix2StructForConditionalGeneration(config))
    upstream.save_pretrained(repository)
    spec = dataclasses.replace(published(spec), unshuffle=1)
    images = torch.randint(0, 256, (2, 3, 128, 128), generator=torch.manual_seed(1)).byte()
    processor = Pix2StructImageProcessor(max_patches=49, is_vqa=False)
    inputs = processor(list(images), return_tensors="pt")
    with torch.no_grad():
        features = built(spec)(images / 255)
        expected = upstream.encoder(**inputs).last_hidden_state
    assert features.shape.grid == (7, 7)
    torch.testing.assert_close(features.tokens(), expected, atol=1e-3, rtol=1e-3)


def test_convnext(repository: Path) -> None:
    spec = find("convnext-micro")
    upstream = scattered(ConvNeXt(num_classes=7, **spec.architecture))
    repository.mkdir(parents=True)
    save_file(upstream.state_dict(), repository / "model.safetensors")
    expected = upstream.forward_features(normalised(spec, pixels_of(spec)))
    torch.testing.assert_close(built(published(spec))(pixels_of(spec)).tensor, expected)


def test_dinov2_by_its_published_names(repository: Path) -> None:
    spec = find("dinov2-micro")
    config = Dinov2Config(**{**spec.architecture, "use_mask_token": True})
    upstream = scattered(Dinov2Model(config))
    upstream.save_pretrained(repository)
    names = load_file(repository / "model.safetensors").keys()
    assert "encoder.layer.0.attention.attention.query.weight" in names
    expected = upstream(normalised(spec, pixels_of(spec))).last_hidden_state[:, 1:]
    encoder = built(dataclasses.replace(published(spec), unshuffle=1))
    torch.testing.assert_close(encoder(pixels_of(spec)).tokens(), expected)


def test_dinov2_with_registers_drops_them_and_the_class_token(repository: Path) -> None:
    spec = find("dinov2-registers-toy")
    upstream = scattered(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**spec.architecture)))
    upstream.save_pretrained(repository)
    expected = upstream(normalised(spec, pixels_of(spec))).last_hidden_state[:, 5:]
    encoder = built(dataclasses.replace(published(spec), unshuffle=1))
    torch.testing.assert_close(encoder(pixels_of(spec)).tokens(), expected)


@pytest.mark.parametrize("size", [(64, 64), (40, 72), (16, 24)])
def test_eva02_detector(repository: Path, size: tuple[int, int]) -> None:
    repository.mkdir(parents=True)
    state = eva02_state(depth=3, width=32, inner=85, table=16, patch=8)
    save_file(state, repository / "model.safetensors")
    pixels = torch.rand(2, 3, *size, generator=torch.manual_seed(1))
    backbone = {name: tensor for name, tensor in state.items() if "backbone.net" in name}
    expected = eva02_detector(
        backbone,
        normalised(EVA02_DET, pixels),
        patch=8,
        heads=2,
        window=3,
        whole={1},
        trained=3,
    )
    features = built(published(EVA02_DET))(pixels)
    torch.testing.assert_close(features.tensor.double(), expected, atol=1e-4, rtol=1e-4)


def test_internvit(repository: Path) -> None:
    """Its own code is no library, so its maths are written out beside its published names."""
    repository.mkdir(parents=True)
    save_file(internvit_state(), repository / "model.safetensors")
    spec = dataclasses.replace(published(INTERNVIT), resolution=32)
    pixels = normalised(spec, pixels_of(spec))
    expected = internvit(internvit_state(), pixels, patch=8, heads=4)
    found = built(spec)(pixels_of(spec)).tensor
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_published_tensors_of_the_large_detector_all_have_their_place() -> None:
    """459 of 24 blocks."""
    with torch.device("meta"):
        encoder = build_encoder(registry.resolve("eva02-l16-det"), load_weights=False)
        state = eva02_state(depth=24, width=1024, inner=2730, table=196, patch=16)
    placed = {
        ours: tensor.shape
        for name, tensor in state.items()
        for ours in translated(encoder, name, Path("x"))
    }
    assert len(placed) == 459
    assert placed == {name: tensor.shape for name, tensor in encoder.state_dict().items()}
