"""Our fusions, connectors and encoders make what they made when their revision was last raised.

A failure here means that the same maps (or pixels), options and seed now become something else. If
that is meant, raise `REVISION` in the component's file, or `revision` in the family's class, so
that what was trained before is trained anew; then put the new figures here. A change that leaves
the figures needs nothing. A new component or family has figures from its first release on.
"""

import connector_toys
import pytest
import torch
from connector_toys import SMALL, TWO, asked, tokens_for
from encoder_toys import find
from fusion_toys import LANGUAGE, SHAPES, ToyBase, build, random_maps

import fusion_zoo
from ablate.catalog import encoder_families as families
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.build import build_encoder
from fusion_zoo import Instruction
from fusion_zoo.connectors import CONNECTORS


def figures(values: torch.Tensor) -> tuple[float, float]:
    """Two sums that hardly any change leaves as they are."""
    flat = values.double().flatten()
    ramp = torch.linspace(-1, 1, flat.numel(), dtype=torch.double)
    return round(float(flat.abs().mean()), 4), round(float((flat * ramp).mean()), 4)


FUSED = {
    "channel_concat": (1, 0.7185, -0.0009),
    "deepseek_vl": (1, 0.2445, -0.0008),
    "deformable": (1, 0.8063, 0.0053),
    "expert_grids": (1, 0.7963, -0.02),
    "expert_routing": (1, 3.746, -0.1257),
    "interleave": (1, 0.2319, 0.0006),
    "llava_hr": (1, 1.1225, 0.029),
    "merv": (1, 0.293, 0.0055),
    "mini_gemini": (1, 0.8893, 0.0151),
    "sequence_append": (1, 0.7185, -0.0271),
    "sphinx": (1, 0.8144, 0.0052),
}
CONNECTED = {
    "c_abstractor": (1, 0.3277, 0.0114),
    "d_abstractor": (1, 0.5496, 0.0007),
    "identity": (1, 0.7991, -0.0309),
    "meq_former": (1, 0.5468, -0.0074),
    "mlp": (1, 0.3445, -0.0008),
    "mousi": (1, 0.5462, -0.0091),
    "perceiver_resampler": (1, 0.6413, -0.0075),
    "pixel_shuffle": (1, 0.4903, 0.0134),
    "pooling": (1, 0.2354, -0.0016),
    "qformer": (1, 0.7072, -0.0252),
    "resampler2d": (1, 0.8694, 0.0265),
    "sva": (1, 0.1281, 0.0012),
    "token_packer": (1, 0.0888, -0.0002),
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
    "timm-toy@64": (1, 0.7973, -0.0277),
    "timm-dense-toy": (1, 0.4411, -0.0072),
    "clip-dense-toy": (1, 0.8429, -0.0158),
    "hub-toy@64": (1, 0.8003, -0.0012),
}


def fused(name: str) -> tuple[int, float, float]:
    torch.manual_seed(0)
    fusion = build(name, SHAPES[:2], (4, 6))
    maps, base = random_maps(SHAPES[:2]), ToyBase(SHAPES[0])
    said = Instruction(torch.ones(2, 1, LANGUAGE.width), torch.ones(2, 1, dtype=torch.bool))
    with torch.no_grad():
        for parameter in fusion.parameters():  # a gate that begins at zero would hide what it gates
            parameter.add_(0.1 * torch.randn_like(parameter))
        tokens = torch.cat([part.flatten() for part in fusion(maps, base, said)])
    return (fusion_zoo.revision(name), *figures(tokens))


def connected(name: str) -> tuple[int, float, float]:
    torch.manual_seed(0)
    connector = connector_toys.build(name, SMALL.get(name, {}), *TWO)
    tokens, said = tokens_for(connector), asked()
    with torch.no_grad():
        for parameter in connector.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        return (CONNECTORS.revision(name), *figures(connector(tokens, said)))


def seen(spec: EncoderSpec) -> tuple[int, float, float]:
    encoder = build_encoder(spec, load_weights=False).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        features = encoder(torch.rand(1, 3, spec.resolution, spec.resolution)).tensor
    return (families.revision(spec.family), *figures(features))


@pytest.mark.parametrize("name", FUSED)
def test_a_fusion_makes_what_its_revision_says(name: str) -> None:
    assert fused(name) == pytest.approx(FUSED[name], abs=3e-4)


@pytest.mark.parametrize("name", CONNECTED)
def test_a_connector_makes_what_its_revision_says(name: str) -> None:
    assert connected(name) == pytest.approx(CONNECTED[name], abs=3e-4)


@pytest.mark.parametrize("title", SEEN)
def test_an_encoder_sees_what_its_revision_says(title: str) -> None:
    assert seen(find(title)) == pytest.approx(SEEN[title], abs=3e-4)
