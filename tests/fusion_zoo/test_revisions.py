"""Our fusions and encoders make what they made when their revision was last raised.

A failure here means that the same maps (or pixels), options and seed now become something else. If
that is meant, raise `REVISION` in the fusion's file, or `revision` in the family's class, so that
what was trained before is trained anew; then put the new figures here. A change that leaves the
figures needs nothing. A new fusion or family has figures from its first release on.
"""

import pytest
import torch
from encoder_toys import find
from fusion_toys import SHAPES, ToyBase, random_maps

import fusion_zoo
from ablate.catalog import encoder_families as families
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.build import build_encoder


def figures(values: torch.Tensor) -> tuple[float, float]:
    """Two sums that hardly any change leaves as they are."""
    flat = values.double().flatten()
    ramp = torch.linspace(-1, 1, flat.numel(), dtype=torch.double)
    return round(float(flat.abs().mean()), 4), round(float((flat * ramp).mean()), 4)


FUSED = {
    "channel_concat": (1, 0.7185, -0.0009),
    "deformable": (1, 0.8063, 0.0053),
    "llava_hr": (1, 1.1225, 0.029),
    "mini_gemini": (1, 0.8893, 0.0151),
    "sequence_append": (1, 0.7185, -0.0271),
}
SEEN = {
    "clip-micro@32": (1, 0.9114, -0.0028),
    "convnext-micro@128": (1, 0.2627, 0.0022),
    "eva02-micro@128": (1, 0.6324, 0.0019),
    "pix2struct-micro@128": (1, 0.801, 0.0045),
    "sam-micro@128": (1, 0.8039, -0.0131),
    "dinov2-micro@64": (1, 0.8024, -0.0076),
    "untrained-micro@128": (1, 0.6323, 0.0112),
    "eva02-det-toy@64": (1, 0.3016, -0.0231),
    "internvit-toy@64": (1, 0.13, -0.0002),
    "siglip-toy@64": (1, 0.8026, -0.0171),
    "sam-short-toy@128": (1, 0.8044, -0.0089),
    "clip-tiled-toy@64": (1, 0.8975, 0.0107),
    "convnext-micro-pyramid@128": (1, 0.2627, 0.0022),
    "clip-aligned-toy@32": (1, 0.9114, -0.0028),
    "eva02-toy@64": (1, 0.3016, -0.0231),
}


def fused(name: str) -> tuple[int, float, float]:
    torch.manual_seed(0)
    fusion = fusion_zoo.build(name, SHAPES[:2], (4, 6))
    maps, base = random_maps(SHAPES[:2]), ToyBase(SHAPES[0])
    with torch.no_grad():
        for parameter in fusion.parameters():  # a gate that begins at zero would hide what it gates
            parameter.add_(0.1 * torch.randn_like(parameter))
        tokens = torch.cat([part.flatten() for part in fusion(maps, base)])
    return (fusion_zoo.revision(name), *figures(tokens))


def seen(spec: EncoderSpec) -> tuple[int, float, float]:
    encoder = build_encoder(spec, load_weights=False).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        features = encoder(torch.rand(1, 3, spec.resolution, spec.resolution)).tensor
    return (families.revision(spec.family), *figures(features))


@pytest.mark.parametrize("name", FUSED)
def test_a_fusion_makes_what_its_revision_says(name: str) -> None:
    assert fused(name) == pytest.approx(FUSED[name], abs=3e-4)


@pytest.mark.parametrize("title", SEEN)
def test_an_encoder_sees_what_its_revision_says(title: str) -> None:
    assert seen(find(title)) == pytest.approx(SEEN[title], abs=3e-4)
