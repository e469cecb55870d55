"""Any network of timm by its name: what a study knows of it is what timm builds and loads."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import in_process
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from ablate.catalog import encoders as registry
from ablate.catalog import recent_encoders, timm_encoders
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.cost import encoders as cost
from ablate.cost import visual
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from tools import timm_facts

FACTS: dict[str, Any] = json.loads(timm_encoders.FILE.read_text())
SORTS = ["test_vit", "test_convnext", "naflexvit_base_patch16_siglip", "hiera_tiny_224"]
SORTS += ["swin_tiny_patch4_window7_224", "maxvit_tiny_tf_224", "beit_base_patch16_224"]
SLOWER = ["vit_so400m_patch14_siglip_384", "vit_small_patch16_dinov3", "crossvit_tiny_240"]


def pixels(size: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.manual_seed(0))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts weights of a network of timm where `ablate fetch` would; gives the network."""
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))

    def publish(spec: EncoderSpec) -> Any:
        torch.manual_seed(1)
        network = timm.create_model(spec.architecture["model"]).eval()
        with torch.no_grad():
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.05 * torch.randn_like(tensor).abs())
        folder = tmp_path / spec.weights.ref
        folder.mkdir(parents=True)
        save_file(network.state_dict(), folder / "model.safetensors")
        return network

    return publish


def declared(spec: EncoderSpec) -> tuple[int, int, int]:
    return spec.width, *spec.grid


def test_the_table_is_of_the_timm_installed_and_names_each_of_its_networks() -> None:
    assert FACTS["timm"] == timm.__version__, "run tools/timm_facts.py"
    assert sorted([*FACTS["models"], *FACTS["without"]]) == sorted(timm.list_models())


def test_what_has_no_place_in_the_table_says_why() -> None:
    one_of = {reason: name for name, reason in FACTS["without"].items()}
    assert "timm has no weights of it on the hub" in one_of
    for reason, name in one_of.items():
        with pytest.raises(UserError, match=f"timm's '{name}' cannot be one: .") as caught:
            registry.resolve(f"timm:{name}")
        assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name", [*SORTS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWER)]
)
def test_the_table_holds_what_a_network_is_found_to_do(name: str) -> None:
    assert timm_facts.facts_of(name) == FACTS["models"][name]


LARGE_FIRST = sorted(FACTS["models"], key=lambda name: -FACTS["models"][name]["parameters"])
SMALLEST = {timm.models.model_entrypoint(name).__module__: name for name in LARGE_FIRST}
"""Of the networks that one module of timm has, that of the fewest parameters."""


@pytest.mark.slow
@settings(max_examples=15)
@given(name=st.sampled_from([*SMALLEST.values()]))
def test_networks_of_any_module_of_timm_build_and_give_the_declared_map(name: str) -> None:
    """As all did when `tools/timm_facts.py` wrote the table down."""
    spec = registry.resolve(f"timm:{name}")
    with torch.device("meta"), torch.no_grad():
        encoder = build_encoder(spec, load_weights=False).eval()
        found = encoder(torch.rand(1, 3, spec.resolution, spec.resolution)).shape
    assert found == declared(spec)
    assert sum(map(torch.numel, encoder.parameters())) == FACTS["models"][name]["parameters"]


@pytest.mark.parametrize("title", ["timm:test_vit@96", "timm:test_convnext@192", "dinov3-b16@512"])
def test_cost_at_another_resolution_is_what_torch_counts(title: str) -> None:
    spec = registry.resolve(title)
    assert cost.cost(spec) == cost.measured(spec)
    assert cost.cost(replace(spec, layer=1)) == cost.measured(replace(spec, layer=1))


@pytest.mark.parametrize(
    ("title", "norm"),
    [
        ("timm:test_vit", True),  # a class token, which is left out
        ("timm:test_vit2", True),  # registers, too
        ("timm:test_convnext", True),
        ("timm:test_efficientnet", True),
        ("timm:test_resnet", True),
    ],
)
def test_features_are_timms_own_with_its_published_weights(
    title: str, norm: bool, published: Any
) -> None:
    spec = registry.resolve(title)
    network = published(spec)
    encoder = build_encoder(spec).eval()
    image = pixels(spec.resolution)
    seen = encoder.normalise(image)
    expected = network.forward_intermediates(seen, norm=norm, intermediates_only=True)[-1]
    torch.testing.assert_close(encoder(image).tensor, expected, rtol=1e-6, atol=1e-6)
    assert encoder(image).shape == declared(spec)


def test_positions_are_interpolated_as_timm_does_and_a_narrow_border_is_left_out() -> None:
    spec = registry.resolve("timm:vit_so400m_patch14_siglip_384@384")
    assert (spec.ragged, spec.grid) == (True, (27, 27))
    assert registry.resolve("timm:vit_so400m_patch14_siglip_384@448").grid == (32, 32)
    with pytest.raises(UserError, match="nearest are 392 and 406"):
        registry.resolve("timm:vit_so400m_patch14_siglip_384@400")


def test_a_network_built_for_a_size_takes_weights_of_another(published: Any) -> None:
    spec = registry.resolve("timm:coatnext_nano_rw_224@256")
    assert spec.architecture["img_size"] == 256
    network = published(spec)
    encoder = build_encoder(spec).eval()
    assert encoder(pixels(256)).shape == declared(spec) == (512, 8, 8)
    own = build_encoder(registry.resolve("timm:coatnext_nano_rw_224")).eval()
    seen = own.normalise(pixels(224))
    expected = network.forward_intermediates(seen, norm=True, intermediates_only=True)[-1]
    torch.testing.assert_close(own(pixels(224)).tensor, expected)


def test_a_tensor_that_is_missing_or_of_another_network_is_one_line(
    published: Any, tmp_path: Path
) -> None:
    spec = registry.resolve("timm:test_vit")
    state = published(spec).state_dict()
    path = tmp_path / spec.weights.ref / "model.safetensors"
    save_file({k: t for k, t in state.items() if k != "blocks.0.attn.qkv.weight"}, path)
    with pytest.raises(UserError, match=r"model\.safetensors: .*Missing key.*blocks\.0\.attn\.qkv"):
        build_encoder(spec)
    save_file({**state, "another": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"Unexpected key.*another"):
        build_encoder(spec)


def test_batch_norms_keep_their_statistics_while_they_train() -> None:
    encoder = build_encoder(registry.resolve("timm:test_resnet"), load_weights=False).train()
    before = {name: tensor.clone() for name, tensor in encoder.named_buffers()}
    encoder(pixels(160)).tensor.sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.named_buffers())


@pytest.mark.parametrize(
    ("title", "says"),
    [
        ("timm:vit_large_patch16_dinov4", "did you mean 'timm:vit_large_patch16_dinov3'"),
        ("timm:vit_large_patch16_dinov3.lvd", "did you mean 'timm:vit_large_patch16_dinov3"),
        ("timm:test_vit@161", "nearest are 160 and 176"),
        ("timm:test_vit@big", "a resolution is a number, as in 'timm:test_vit@160'"),
        ("timm:maxvit_tiny_tf_224@256", "multiples of 224; the nearest are 224 and 448"),
        ("timm:crossvit_tiny_240@256", "takes 240 pixels alone, not 256"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_nearest_that_can(title: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.resolve(title)
    assert says in str(caught.value)


def test_weights_that_are_not_the_default_are_named_by_their_tag() -> None:
    spec = registry.resolve("timm:vit_large_patch16_dinov3.sat493m@512")
    assert spec.title == "timm:vit_large_patch16_dinov3.sat493m@512"
    assert spec.weights.ref == "timm/vit_large_patch16_dinov3.sat493m"
    assert spec.mean == (0.43, 0.411, 0.296)
    default = registry.resolve("timm:vit_large_patch16_dinov3.lvd1689m")
    assert default == registry.resolve("timm:vit_large_patch16_dinov3")
    assert default.licence == "DINOv3"


@pytest.mark.parametrize("spec", recent_encoders.SPECS, ids=lambda spec: spec.title)
def test_a_recent_encoder_is_timms_under_a_shorter_name(spec: EncoderSpec) -> None:
    network = f"timm:{spec.architecture['model']}"
    again = registry.resolve(f"{network}@{spec.resolution}")
    assert replace(again, name=spec.name, source=spec.source) == spec
    assert spec.licence
    assert spec.weights.kind == "published"
    larger = spec.resolution + 2 * spec.patch
    assert registry.resolve(f"{spec.name}@{larger}").resolution == larger


def test_networks_of_timm_are_listed_and_planned_without_it(own_home: Path) -> None:
    mixture = "base.encoders=[timm:vit_large_patch16_dinov3@512, convnext-xxl@1024]"
    for known in vars(visual).values():  # by a test before, in another home
        if hasattr(known, "cache_clear"):
            known.cache_clear()
    assert in_process.ablate("plan", "eagle/prealign").code == 0  # to know what its fusion costs
    code = f"""
import sys
from in_process import ablate
heavy = {{"torch", "timm", "transformers"}}
for words in (["list", "encoders", "--match", "vit_"], ["status"], ["plan"]):
    told = ablate(*words, *([] if words[0] == "list" else ["eagle/prealign", "--set", {mixture!r}]))
    print(told.code, "vit_large_patch16_dinov3" in told.out, *(heavy & {{*sys.modules}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(in_process.__file__).parent)},
    )
    assert done.stdout.splitlines() == ["0 True"] * 3
