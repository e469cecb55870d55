"""Every resize on the way from an image to a map equals one in float64, written independently."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from encoder_toys import find
from hypothesis import given, settings
from hypothesis import strategies as st
from references import resized
from torch import Tensor

from ablate.catalog.encoder_spec import Weights
from ablate.encoders.build import build_encoder
from ablate.encoders.pix2struct import Pix2StructEncoder
from ablate.model.mixture import Mixture


def image_of(height: int, width: int) -> Tensor:
    generator = torch.manual_seed(height * 100 + width)
    return torch.randint(0, 256, (2, 3, height, width), generator=generator).byte()


def seen_by(title: str, image: Tensor) -> Tensor:
    """What a mixture of one encoder shows it of an image: (B,3,S,S)."""
    encoder: Any = build_encoder(find(title), load_weights=False)
    options = {"align_corners": True, "antialias": False}
    mixture = Mixture([encoder], "channel_concat", (4, 4), options, "none")
    seen: list[Tensor] = []
    encoder.register_forward_pre_hook(lambda _, given: seen.append(*given))
    with torch.no_grad():
        mixture(image)
    return seen[0]


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 90), st.integers(8, 90))
def test_an_expert_sees_the_full_image_resized_once_with_antialiasing(
    height: int, width: int
) -> None:
    image = image_of(height, width)
    expected = resized(image.double() / 255, (32, 32), "bilinear", antialias=True)
    np.testing.assert_allclose(seen_by("clip-micro", image), expected, atol=2e-6)


@settings(deadline=None, max_examples=25)
@given(height=st.integers(2, 90), width=st.integers(2, 90))
@pytest.mark.parametrize(("title", "size"), [("clip-aligned-toy", 32), ("sam-short-toy", 128)])
def test_an_expert_of_the_release_sees_it_resized_corner_to_corner(
    title: str, size: int, height: int, width: int
) -> None:
    image = image_of(height, width)
    rows, columns = (
        np.interp(np.linspace(0, side - 1, size), np.arange(side), np.arange(side))
        for side in (height, width)
    )
    values = image.double().numpy() / 255
    expected = interpolated(interpolated(values, rows, 2), columns, 3)
    np.testing.assert_allclose(seen_by(title, image), expected, atol=1e-5)


def interpolated(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, values.shape[axis] - 1)
    share = (places - below).reshape([-1 if n == axis else 1 for n in range(values.ndim)])
    return values.take(below, axis) * (1 - share) + values.take(above, axis) * share


def test_experts_of_both_kinds_see_one_image_each_in_its_way() -> None:
    encoders: Any = [
        build_encoder(find(name), load_weights=False) for name in ("clip-micro", "clip-aligned-toy")
    ]
    seen: list[Tensor] = []
    for encoder in encoders:
        encoder.register_forward_pre_hook(lambda _, given: seen.append(*given))
    image = image_of(80, 80)
    with torch.no_grad():
        Mixture(encoders, "channel_concat", (4, 4), {}, "none")(image)
    expert, base = sorted(seen, key=lambda view: (view - seen_by("clip-micro", image)).abs().max())
    assert torch.equal(expert, seen_by("clip-micro", image))
    assert torch.equal(base, seen_by("clip-aligned-toy", image))


def test_an_image_of_an_experts_own_size_is_not_touched() -> None:
    image = image_of(32, 32)
    assert torch.equal(seen_by("clip-micro", image), image / 255)


def pix2struct_patches(image: Tensor, rows: int, columns: int, side: int) -> Tensor:
    """(3,h,w) in [0,255] -> (N,2+3*side*side), one patch after another."""
    values = image.double()
    values = (values - values.mean()) / max(values.std(correction=0), 1 / values.numel() ** 0.5)
    values = resized(values, (rows * side, columns * side), "bilinear", antialias=True)
    return torch.stack(
        [
            torch.cat(
                [
                    torch.tensor([row + 1.0, column + 1.0]),
                    values[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
                    .permute(1, 2, 0)
                    .flatten(),
                ]
            )
            for row in range(rows)
            for column in range(columns)
        ]
    )


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (256, 512), (16, 16)])
@pytest.mark.parametrize("limit", [20, 256])
@pytest.mark.parametrize("kind", ["none", "published"])
def test_pix2struct_patches(size: tuple[int, int], limit: int, kind: str) -> None:
    """Published weights see an image of fewer patches enlarged, as by their processor."""
    spec = replace(find("pix2struct-micro"), unshuffle=1, max_patches=limit, weights=Weights(kind))
    encoder = build_encoder(spec, load_weights=False)
    assert isinstance(encoder, Pix2StructEncoder)
    images = image_of(*size)
    found = encoder.flatten_patches(encoder.normalise(images / 255))
    rows, columns = spec.patches(*size)
    assert rows * columns <= limit
    if kind == "published":
        assert rows * columns > limit / 2
        assert rows * size[1] == pytest.approx(columns * size[0], rel=0.3)
    for image, patches in zip(images, found, strict=True):
        expected = pix2struct_patches(image, rows, columns, spec.patch)
        np.testing.assert_allclose(patches, expected, atol=1e-4)
