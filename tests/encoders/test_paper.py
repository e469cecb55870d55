"""The experts at their published sizes: built without memory, they are what was published."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encoder_toys import SPECS as TOYS
from packages import install_package
from torch import Tensor
from transformers import Pix2StructImageProcessor

import fusion_zoo
from ablate.catalog import encoders as registry
from ablate.catalog import micro_encoders as micro
from ablate.catalog import paper_encoders as paper
from ablate.catalog import published
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.cost import encoders as cost
from ablate.cost import published as counted
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder, family_class
from ablate.errors import UserError

MAPS = {
    "clip-l14@336": (1024, 24, 24),
    "clip-l14@448": (1024, 32, 32),
    "clip-l14@672": (1024, 48, 48),
    "clip-l14-tiled@672": (1024, 48, 48),
    "clip-l14-eagle@336": (1024, 24, 24),
    "clip-l14-llava@336": (1024, 24, 24),
    "convnext-xxl@1024": (3072, 32, 32),
    "convnext-l@1024": (1536, 32, 32),
    "convnext-xxl-pyramid@1024": (3072, 32, 32),
    "convnext-l-pyramid@768": (1536, 24, 24),
    "eva02-l16-det@1024": (1024, 64, 64),
    "eva02-l16-det-eagle@1024": (1024, 64, 64),
    "sam-l@1024": (1024, 32, 32),
    "sam-l-eagle@1024": (1024, 32, 32),
    "pix2struct-l@1024": (1536, 45, 45),
    "dinov2-l14@448": (1024, 32, 32),
    "dinov2-l14@518": (1024, 37, 37),
    "dinov2-l14-reg@448": (1024, 32, 32),
    "siglip-so400m@384": (1152, 27, 27),
    "internvit-6b@448": (3200, 32, 32),
}


def test_every_expert_has_a_name() -> None:
    assert {spec.title for spec in paper.SPECS} == MAPS.keys()
    assert all(spec.task and spec.licence and spec.source for spec in paper.SPECS)


AGAIN = {
    *("clip-l14@336", "clip-l14@672", "clip-l14-eagle@336"),
    *("convnext-l@1024", "convnext-l-pyramid@768"),
    *("eva02-l16-det-eagle@1024", "sam-l-eagle@1024", "dinov2-l14@518"),
}
"""Of a network that is there at another size, too, or with other pixels."""


@pytest.mark.parametrize(
    "title", [pytest.param(one, marks=pytest.mark.slow) if one in AGAIN else one for one in MAPS]
)
def test_an_expert_has_the_published_map_and_its_cost_is_known(title: str) -> None:
    spec, seen = registry.resolve(title), []
    with torch.device("meta"), torch.no_grad():
        encoder = build_encoder(spec, load_weights=False)
        encoder.register_forward_hook(lambda module, given, features: seen.append(features))
        measured = cost.counted(encoder, spec.resolution)
        [features] = seen
        fusion = fusion_zoo.build("channel_concat", [features.shape], (32, 32))
        (tokens,) = fusion([features], None)
    assert features.shape == encoder.shape == MAPS[title]
    assert tokens.shape == (1, 1024, spec.width)
    assert cost.parameters(spec) == measured.parameters
    assert cost.flops(spec) == pytest.approx(measured.flops, rel=0.01)
    assert cost.cost(spec).outputs == pytest.approx(measured.outputs, rel=0.01)


@pytest.mark.parametrize("spec", TOYS, ids=lambda spec: spec.title)
def test_the_cost_of_a_small_encoder_is_what_torch_counts(spec: EncoderSpec) -> None:
    step = spec.tile or spec.patch * spec.unshuffle
    for resolution in spec.resolution, 2 * step:
        measured = cost.measured(spec.at(resolution))
        assert cost.parameters(spec) == measured.parameters
        assert cost.flops(spec.at(resolution)) == pytest.approx(measured.flops, rel=0.01)


def test_the_cost_of_a_whole_shelf_takes_no_time() -> None:
    before = time.process_time()
    for spec in registry.specs():
        assert cost.parameters(spec) > 0
        assert cost.flops(spec) > 0
    assert time.process_time() - before < 0.5


EXPERTS = {
    "CLIP": "clip-l14@448",
    "ConvNeXt": "convnext-xxl@1024",
    "SAM": "sam-l@1024",
    "EVA-02": "eva02-l16-det@1024",
    "Pix2Struct": "pix2struct-l@1024",
    "DINOv2": "dinov2-l14-reg@448",
}
MIXTURES = [row for row in published.table("F4_roundrobin").rows if len(row.encoders) > 1]


@pytest.mark.parametrize("row", MIXTURES, ids=lambda row: row.name)
def test_a_mixture_of_figure_4_has_the_published_size_and_cost(row: published.Row) -> None:
    """All eleven: parameters within 0.8 % below, GFLOPs by one rule within 0.5 % below."""
    table = published.table("F4_roundrobin")
    printed = [table.cell(row.name, column) for column in ("Vision parameters, M", "GFLOPs")]
    titles = [EXPERTS[name] for name in row.encoders]
    held = sum(cost.parameters(registry.resolve(title)) for title in titles) / 1e6
    done = (counted.multiply_adds(titles) or 0) / 1e9
    assert -0.008 < held / (printed[0] or 1) - 1 < 0
    assert -0.005 < done / (printed[1] or 1) - 1 < 0


def test_there_are_eleven_mixtures_in_figure_4() -> None:
    assert len(MIXTURES) == 11


def test_the_rule_of_figure_4_holds_of_internvl_but_not_of_clip_in_table_2() -> None:
    """Table 2 counts CLIP as little more than its MLPs: two thirds of what its layers do."""
    clip = published.table("T2_clip")
    alone = counted.multiply_adds(["internvit-6b@448"]) or 0
    assert alone / 1e9 == pytest.approx(clip.cell("InternVL at 448, frozen", "GFLOPs"), rel=0.001)
    rows = ("CLIP at 336, frozen", "CLIP at 448, positions interpolated, frozen")
    for row, side in zip(rows, (336, 448), strict=True):
        printed = clip.cell(row, "GFLOPs") or 0.0
        assert printed / ((counted.multiply_adds([f"clip-l14@{side}"]) or 0) / 1e9) < 0.7
        assert "table 2 counts" in clip.doubt(row, "GFLOPs")
        mlps = 24 * 8 * 1024**2 * (side // 14) ** 2 / 1e9
        assert printed == pytest.approx(mlps, rel=0.04)


def test_a_mixture_with_an_expert_of_no_known_layers_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counted, "layers", lambda spec: None)
    assert counted.multiply_adds(["clip-l14@448", "sam-l@1024"]) is None


@pytest.mark.parametrize(
    ("title", "grid"),
    [("clip-l14", 32), ("clip-l14@560", 40), ("clip-l14-tiled@1008", 72), ("sam-l@512", 16)],
)
def test_any_resolution_an_expert_can_take_needs_no_entry(title: str, grid: int) -> None:
    assert registry.resolve(title).grid == (grid, grid)


@pytest.mark.parametrize("title", ["clip-l14-eagle@336", "sam-l-eagle", "eva02-l16-det-eagle"])
def test_what_is_named_after_the_release_does_as_its_code(title: str) -> None:
    """One normalisation for all, and every image resized corner to corner without antialiasing."""
    spec = registry.resolve(title)
    assert (spec.mean, spec.std) == (micro.CLIP_MEAN, micro.CLIP_STD)
    assert family_class(spec.family).aligned
    assert not family_class(registry.resolve(title.split("-eagle")[0]).family).aligned


@pytest.mark.parametrize("resolution", [256, 512, 720, 736, 1024])
def test_pix2struct_shows_as_many_patches_as_its_processor_at_any_resolution(
    resolution: int,
) -> None:
    """2,048, as square as may be, also of an image that has to be enlarged for it."""
    spec = registry.resolve(f"pix2struct-l@{resolution}")
    processor = Pix2StructImageProcessor(max_patches=2048, is_vqa=False)
    shown = processor([torch.zeros(3, resolution, resolution)], return_tensors="pt")
    patches = shown.flattened_patches[0, shown.attention_mask[0] > 0]
    assert spec.grid == tuple(patches[:, :2].amax(0).int().tolist()) == (45, 45)
    assert registry.resolve("pix2struct-micro").grid == (4, 4)


def test_tiles_are_of_the_size_the_base_was_trained_on() -> None:
    with pytest.raises(UserError, match="multiples of 336; the nearest are 336 and 672"):
        registry.resolve("clip-l14-tiled@448")


def test_a_tiled_base_sees_each_tile_by_itself_and_puts_the_maps_together() -> None:
    spec = next(spec for spec in TOYS if spec.tile)
    tiled = build_encoder(spec, load_weights=False).eval()
    whole = build_encoder(micro.SPECS[0], load_weights=False).eval()
    pixels = torch.rand(2, 3, 64, 96)
    features = tiled(pixels).tensor
    assert features.shape == (2, 96, 8, 12)
    for row in range(2):
        for column in range(3):
            seen = pixels[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            place = features[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            torch.testing.assert_close(place, whole(seen).tensor)


class Flat(Encoder):
    """A family of another package."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.layer = torch.nn.Conv2d(3, spec.width, spec.patch, spec.patch)

    def features(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.layer(pixels)
        return maps


def test_the_family_of_another_package_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = {"ablate.encoder_families": {"flat": f"{__name__}:Flat"}}
    install_package(tmp_path, "flat_package", {}, offers)
    monkeypatch.syspath_prepend(tmp_path)
    values = {**micro.SPECS[0].to_json(), "family": "flat"}
    spec = EncoderSpec.from_json(values)
    assert cost.parameters(spec) == 3 * 8 * 8 * 96 + 96
    assert cost.flops(spec) == 2 * 16 * 3 * 8 * 8 * 96


def test_an_architecture_unlike_ours_is_measured() -> None:
    """DINOv2's giant has other layers, chosen by an argument that our formula does not know."""
    spec = next(spec for spec in micro.SPECS if spec.family == "dinov2")
    giant = replace(spec, architecture={**spec.architecture, "use_swiglu_ffn": True})
    assert cost.parameters(giant) == cost.measured(giant).parameters != cost.parameters(spec)
