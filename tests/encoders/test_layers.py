"""Which layers make an encoder's map: one by its number, or several (Dense Connector)."""

import dataclasses
from pathlib import Path

import encoder_toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablate.catalog import encoders as registry
from ablate.catalog.encoder_layers import dense_groups, with_options
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.cost import encoders as cost
from ablate.encoders.base import BlockEncoder
from ablate.encoders.build import build_encoder
from ablate.errors import UserError

PIXELS = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0))


def after_each_block(spec: EncoderSpec) -> list[Tensor]:
    """Maps after 0, 1, ... blocks of an encoder, one block at a time, and its own last."""
    plain = build_encoder(
        dataclasses.replace(spec, layer=None, dense=""), load_weights=False
    ).eval()
    with torch.no_grad():
        if isinstance(plain, BlockEncoder):
            grid = spec.patches(32, 32)
            tokens = plain.embed(plain.normalise(PIXELS))
            found = [tokens]
            for number in range(plain.num_blocks):
                found.append(plain.block(number, found[-1], grid))
            states = [one[:, plain.prefix :].mT.reshape(2, -1, *grid) for one in found]
        else:  # timm
            model, kept = plain.model, list[Tensor]()
            hooks = [
                block.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
                for block in model.blocks
            ]
            last = model.forward_intermediates(plain.normalise(PIXELS), intermediates_only=True)
            for hook in hooks:
                hook.remove()
            states = [one[:, 1:].mT.reshape(2, -1, 4, 4) for one in kept] + last[-1:]
        return [*states, plain(PIXELS).tensor]


@pytest.mark.parametrize("toy", ["timm-toy", "clip-micro", "dinov2-registers-toy", "eva02-micro"])
def test_each_layer_and_each_dense_map_is_made_of_the_blocks_it_says(toy: str) -> None:
    small = encoder_toys.find(toy)
    width = small.width // small.unshuffle**2
    spec = dataclasses.replace(small, unshuffle=1, resolution=32, width=width)
    *states, own = after_each_block(spec)
    blocks = len(states) - 1
    for options in ([], ["layer=1"], ["layer=-2", "dense=dci"], ["dense=sci"], ["dense=dci"]):
        made = with_options(spec, options)
        found = build_encoder(made, load_weights=False).eval()(PIXELS).tensor
        base = own if made.layer is None else states[made.layer]
        third = blocks // 3
        half = blocks // 2
        behind: list[Tensor] = []
        if "dense=sci" in options:
            behind = [states[third - 1], states[2 * blocks // 3 - 1]]
        if "dense=dci" in options:
            behind = [torch.stack(part).double().mean(0).float()
                      for part in (states[:half], states[half:blocks])]  # fmt: skip
        torch.testing.assert_close(found, torch.cat([base, *behind], 1), rtol=1e-5, atol=1e-5)
        assert found.shape[1] == made.width


def test_the_parts_of_the_article_are_those_of_networks_of_24_and_of_26_blocks() -> None:
    assert dense_groups(24, "sci") == [[7], [15]]
    assert dense_groups(24, "dci") == [[*range(12)], [*range(12, 24)]]
    assert dense_groups(26, "dci") == [[*range(13)], [*range(13, 26)]]


@given(st.integers(3, 60), st.sampled_from(["sci", "dci"]))
def test_parts_of_any_network_are_of_blocks_before_its_last(blocks: int, dense: str) -> None:
    groups = dense_groups(blocks, dense)
    assert len(groups) == 2
    assert all(groups)
    assert max(groups[0]) < min(groups[1]) <= max(groups[1]) < blocks


def test_options_stand_behind_the_resolution_and_are_written_in_one_way() -> None:
    title = "clip-l14@336:layer=23:dense=dci"
    spec = registry.resolve("clip-l14@336:dense=dci:layer=-2")
    assert (spec.title, spec.layer, spec.dense, spec.width) == (title, 23, "dci", 3072)
    assert registry.resolve(title) == EncoderSpec.from_json(spec.to_json()) == spec
    assert registry.resolve("clip-l14@336:layer=-1") == registry.resolve("clip-l14@336")
    timm = registry.resolve("dinov3-l16@512:layer=-2")
    assert (timm.title, timm.layer) == ("dinov3-l16@512:layer=23", 23)


def test_an_encoder_without_options_has_the_json_it_always_had() -> None:
    assert not registry.resolve("clip-l14@336").to_json().keys() & {"layer", "dense"}
    assert registry.resolve("clip-l14@336:layer=9").to_json()["layer"] == 9


@pytest.mark.parametrize(
    ("title", "says"),
    [
        ("clip-l14@336:layer=25", "layer must be from 1 to 24, or from -24 to -1, got '25'"),
        ("clip-l14@336:layer=0", "got '0'"),
        ("clip-l14@336:layer=last", "got 'last'"),
        ("clip-l14@336:layers=9", "no option 'layers'; did you mean 'layer'?"),
        ("clip-l14@336:dense=dcii", "no dense 'dcii'; did you mean 'dci'?"),
        ("siglip-so400m@384:dense=sti", "means of 8 cells in a row, of a map of 27 columns"),
        ("clip-l14@336:layer=20:dense=dci", "choose layer=23 or a later one"),
        ("convnext-xxl@1024:layer=2", "'layer' is for plain vision transformers"),
        ("sam-l@1024:dense=dci", "'dense' is for plain vision transformers"),
        ("timm:test_convnext@160:dense=dci", "'dense' is for plain vision transformers"),
    ],
)
def test_a_wrong_option_is_one_line_with_what_there_is(title: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.resolve(title)
    assert says in str(caught.value)


def test_maps_of_earlier_blocks_beside_it_are_means_of_eight_tokens_in_their_order() -> None:
    toy = encoder_toys.find("timm-toy")
    spec = with_options(dataclasses.replace(toy, resolution=64), ["layer=-2", "dense=sti"])
    assert spec.maps == [(32, 8, 8), (32, 8, 1), (32, 8, 1)]
    encoder = build_encoder(spec, load_weights=False).eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(0))
    own, *found = encoder.maps(image)
    kept = build_encoder(dataclasses.replace(spec, dense=""), load_weights=False).eval()
    torch.testing.assert_close(own.tensor, kept(image).tensor)
    groups = dense_groups(3, "sti")
    _, states = encoder.states(encoder.normalise(image), {n for group in groups for n in group})
    for one, [number] in zip(found, groups, strict=True):
        tokens = states[number].flatten(2).mT  # (B,N,C), row by row
        expected = torch.stack([tokens[:, n : n + 8].mean(1) for n in range(0, 64, 8)], dim=1)
        torch.testing.assert_close(one.tokens(), expected)
        assert one.shape == (32, 8, 1)


def test_a_layer_has_the_cost_of_the_blocks_before_it(tmp_path: Path) -> None:
    own = registry.resolve("dinov2-micro@64")
    assert cost.flops(registry.resolve("dinov2-micro@64:layer=1")) < cost.flops(own)
    assert cost.flops(registry.resolve("dinov2-micro@64:dense=dci")) == cost.flops(own)


def test_a_fusion_cannot_reach_inside_an_encoder_whose_map_is_not_its_last() -> None:
    spec = registry.resolve("clip-micro@32:dense=dci")
    encoder = build_encoder(spec, load_weights=False)
    with pytest.raises(UserError, match="its map is not that of its last block alone"):
        encoder.blockwise(PIXELS)
