import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import encoder_toys
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import resampling
from torch import Tensor

from ablate.catalog import encoders as registry
from ablate.catalog import micro_encoders as micro
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.encoders import build
from ablate.encoders.base import BlockEncoder, Encoder, resample_positions
from ablate.encoders.build import build_encoder
from ablate.encoders.tensors import save_module
from ablate.errors import UserError

TITLES = [spec.title for spec in encoder_toys.SPECS]
BLOCKWISE = ["clip-micro", "eva02-micro", "pix2struct-micro", "dinov2-micro"]
BLOCKWISE += ["eva02-det-toy", "siglip-toy", "internvit-toy"]


def random_encoder(title: str, **changes: int) -> Encoder:
    return build_encoder(replace(encoder_toys.find(title), **changes), load_weights=False)


def pixels_of(encoder: Encoder, batch: int = 2) -> Tensor:
    size = encoder.spec.resolution
    return torch.rand(batch, 3, size, size, generator=torch.manual_seed(0))


def gradients(encoder: Encoder, pixels: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    tensor = encoder(pixels).tensor
    weights = torch.linspace(-1, 1, tensor.numel()).view_as(tensor)
    (tensor * weights).sum().backward()
    return {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("title", TITLES)
def test_the_map_has_the_declared_shape_at_every_resolution(title: str) -> None:
    encoder = random_encoder(title)
    assert encoder(pixels_of(encoder)).shape == encoder.shape
    stride = encoder.spec.patch * encoder.spec.unshuffle
    step = encoder.spec.tile or stride
    for height, width in (step, step), (3 * step, 2 * step), (2 * step, 5 * step):
        shape = encoder(torch.rand(1, 3, height, width)).shape
        assert shape == (encoder.spec.width, height // stride, width // stride)


@pytest.mark.parametrize("title", TITLES)
def test_sizes_the_patches_do_not_divide_are_refused(title: str) -> None:
    encoder = random_encoder(title)
    size = encoder.spec.resolution
    with pytest.raises(UserError, match=r"cannot take .* pixels.*nearest are"):
        encoder(torch.rand(1, 3, size, size + 1))


@pytest.mark.parametrize("title", TITLES)
def test_all_parameters_and_the_pixels_get_a_gradient(title: str) -> None:
    encoder = random_encoder(title)
    pixels = pixels_of(encoder).requires_grad_()
    found = gradients(encoder, pixels)
    assert found.keys() == dict(encoder.named_parameters()).keys()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("title", TITLES)
def test_gradient_checkpointing_changes_no_gradient(title: str) -> None:
    encoder = random_encoder(title)
    plain = gradients(encoder, pixels_of(encoder))
    encoder.gradient_checkpointing = True
    again = gradients(encoder, pixels_of(encoder))
    for name in plain:
        torch.testing.assert_close(again[name], plain[name])


@pytest.mark.parametrize("title", TITLES)
def test_bfloat16_gives_nearly_the_same_features(title: str) -> None:
    encoder = random_encoder(title)
    pixels = pixels_of(encoder)
    with torch.no_grad():
        exact = encoder(pixels).tensor
        with torch.autocast("cpu", torch.bfloat16):
            mixed = encoder(pixels).tensor
        encoder.bfloat16()
        half = encoder(pixels).tensor
    assert half.dtype == torch.bfloat16
    for tensor in mixed, half:
        error = (tensor.float() - exact).square().mean() / exact.square().mean()
        assert error < 1e-3


@pytest.mark.parametrize("title", TITLES)
def test_an_encoder_builds_and_runs_on_the_meta_device(title: str) -> None:
    with torch.device("meta"):
        encoder = random_encoder(title)
        features = encoder(torch.rand(1, 3, encoder.spec.resolution, encoder.spec.resolution))
    assert features.shape == encoder.shape
    assert all(parameter.is_meta for parameter in encoder.parameters())


@pytest.mark.parametrize("title", TITLES)
def test_an_image_does_not_depend_on_its_batch(title: str) -> None:
    encoder = random_encoder(title).eval()
    pixels = pixels_of(encoder, 3)
    torch.testing.assert_close(encoder(pixels[1:2]).tensor, encoder(pixels).tensor[1:2])


@pytest.mark.parametrize("title", BLOCKWISE)
def test_all_blocks_one_by_one_are_the_encoders_own_features(title: str) -> None:
    encoder = random_encoder(title, unshuffle=1).eval()
    assert isinstance(encoder, BlockEncoder)
    height, width = encoder.spec.resolution, 2 * encoder.spec.resolution
    pixels = torch.rand(2, 3, height, width)
    blocks = encoder.blockwise(pixels)
    tokens = blocks.start()
    assert tokens.shape[1] == blocks.grid[0] * blocks.grid[1]
    for index in range(blocks.num_blocks):
        assert torch.equal(blocks.run(tokens, index, index), tokens)
        tokens = blocks.run(tokens, index, index + 1)
    torch.testing.assert_close(tokens, encoder(pixels).tokens())


@pytest.mark.parametrize("title", ["convnext-micro", "sam-micro", "eva02-micro", "clip-tiled-toy"])
def test_an_encoder_without_open_blocks_says_so(title: str) -> None:
    encoder = random_encoder(title)
    with pytest.raises(UserError, match=f"'{encoder.spec.title}' cannot be the base"):
        encoder.blockwise(pixels_of(encoder))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_positions_are_resampled_as_in_float64(
    side: int, height: int, width: int, antialias: bool
) -> None:
    table = torch.randn(side * side, 5, generator=torch.manual_seed(side))
    rows, columns = (resampling(side, n, "bicubic", antialias) for n in (height, width))
    image = table.double().numpy().reshape(side, side, 5)
    expected = np.einsum("hi,wj,ijc->hwc", rows, columns, image).reshape(-1, 5)
    for dtype, tolerance in (torch.float32, 1e-5), (torch.bfloat16, 3e-2):
        found = resample_positions(table.to(dtype), (height, width), antialias=antialias)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.double().numpy(), expected, atol=tolerance, rtol=tolerance)


def test_clip_and_eva02_resample_their_position_tables() -> None:
    for title, antialias in ("clip-micro", True), ("eva02-micro", False):
        encoder = random_encoder(title)
        assert isinstance(encoder, BlockEncoder)
        model = encoder.get_submodule("model")
        clip = title == "clip-micro"
        table = model.embeddings.position_embedding.weight if clip else model.pos_embed
        table.data = torch.randn_like(table)
        positions = table[1:] if clip else table[0]
        step = encoder.spec.patch
        pixels = torch.rand(1, 3, 6 * step, 4 * step)
        moved = encoder.embed(pixels)
        resampled = resample_positions(positions, (6, 4), antialias=antialias)
        table.data.zero_()
        if clip:
            model.pre_layrnorm, norm = torch.nn.Identity(), model.pre_layrnorm
            torch.testing.assert_close(norm(encoder.embed(pixels) + resampled), moved)
        else:
            torch.testing.assert_close(encoder.embed(pixels) + resampled, moved)


def test_random_weights_depend_on_the_spec_alone() -> None:
    torch.manual_seed(1)
    first = random_encoder("untrained-micro").state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    again = random_encoder("untrained-micro").state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = random_encoder("untrained-micro", init_seed=21).state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("title", TITLES)
def test_no_encoder_starts_at_nothing(title: str) -> None:
    """transformers' own default deviation for Pix2Struct and SAM is 1e-10."""
    encoder = random_encoder(title)
    matrices = [
        p for n, p in encoder.named_parameters() if p.ndim > 1 and not re.search("pos|cls|reg", n)
    ]
    assert all(matrix.std() > 0.005 for matrix in matrices)


def test_the_micro_encoders_are_small() -> None:
    titles = [spec.title for spec in micro.SPECS]
    sizes = [sum(p.numel() for p in random_encoder(t).parameters()) for t in titles]
    assert all(250_000 < size < 410_000 for size in sizes)
    assert 2 * sum(sizes) < 8e6


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "WEIGHTS", tmp_path)
    return tmp_path / "clip.safetensors"


def with_weights(sha256: str | None = None) -> EncoderSpec:
    spec = registry.resolve("clip-micro")
    return replace(spec, weights=Weights("shipped", "clip.safetensors", sha256))


def test_weights_stored_in_half_precision_are_loaded_in_full(weights: Path) -> None:
    saved = random_encoder("clip-micro", init_seed=5)
    save_module(saved, weights, torch.float16)
    loaded = build_encoder(with_weights()).state_dict()
    for name, tensor in saved.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float())


def test_missing_weights_name_the_remedy(weights: Path) -> None:
    with pytest.raises(UserError, match=r"clip-micro@32.*clip\.safetensors.*ablate bake"):
        build_encoder(with_weights())


def test_other_weights_than_the_specs_are_refused(weights: Path) -> None:
    save_module(random_encoder("clip-micro"), weights)
    with pytest.raises(UserError, match="not those expected"):
        build_encoder(with_weights("0" * 64))


def test_a_truncated_weights_file_is_one_clear_error(weights: Path) -> None:
    save_module(random_encoder("clip-micro"), weights)
    whole = weights.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cannot read weights .*clip\.safetensors"):
            build_encoder(with_weights())


def test_an_unknown_kind_of_weights_is_refused() -> None:
    spec = replace(registry.resolve("clip-micro"), weights=Weights("publish"))
    with pytest.raises(UserError, match="kind of weights 'publish'; did you mean 'published'"):
        build_encoder(spec)


def test_an_unknown_family_is_refused() -> None:
    spec = replace(registry.resolve("clip-micro"), family="clop")
    with pytest.raises(UserError, match="did you mean 'clip'"):
        build_encoder(spec, load_weights=False)


@pytest.mark.parametrize("title", [s.title for s in registry.specs() if s.weights.sha256])
def test_the_shipped_weights_load(title: str) -> None:
    build_encoder(registry.resolve(title))


@pytest.mark.slow
def test_a_worker_is_spared_wandb_and_torchmetrics_which_stay_importable() -> None:
    code = (
        "import gc; gc.disable(); "  # a fifth of what importing takes
        "import sys, importlib.util, ablate.train.stage; "
        "import ablate.encoders.convnext, ablate.encoders.eva02_det; "
        "assert {'timm', 'lightning'} <= sys.modules.keys(); "
        "assert not {'wandb', 'torchmetrics', 'matplotlib'} & sys.modules.keys(); "
        "from ablate.preflight.checks import MODULES; "
        "[importlib.import_module(name) for name in MODULES]; "
        "assert 'wandb' not in sys.modules; "
        "assert importlib.util.find_spec('wandb'); "
        "from torchmetrics import MeanMetric"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
