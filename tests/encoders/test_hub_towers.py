"""Vision towers of transformers by their folder or repository, as upstream's own classes give."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, CLIPConfig, CLIPModel

from ablate.catalog import encoders as registry
from ablate.catalog import hub_encoders
from ablate.cost import encoders as cost
from ablate.encoders.build import build_encoder
from ablate.errors import UserError

TRANSFORMER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
}
STAGES = {"hidden_sizes": [8, 12, 16, 32], "depths": [1, 1, 1, 1]}
SMALL = {
    "convnext": {**STAGES, "image_size": 64},
    "convnextv2": {**STAGES, "image_size": 64},
    "resnet": {**STAGES, "embedding_size": 8},
    "internvl_vision": {**TRANSFORMER, "patch_size": [8, 8], "image_size": [32, 32]},
}
NORM = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def pixels(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.manual_seed(0))


def scattered(model: nn.Module) -> Any:
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn_like(tensor).abs())
    return model.eval()


def tower(kind: str, folder: Path) -> Any:
    """A small tower with weights, saved as upstream saves it."""
    config = CONFIG_MAPPING[kind](**SMALL.get(kind, TRANSFORMER))
    model = scattered(MODEL_MAPPING[type(config)](config))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(NORM))
    return model


def upstream(model: nn.Module, seen: Tensor, grid: tuple[int, int]) -> Tensor:
    """Upstream's own last hidden state as a map."""
    more = {} if seen.shape[-1] == 32 or grid == (2, 2) else {"interpolate_pos_encoding": True}
    try:
        found = model(seen, **more).last_hidden_state
    except TypeError:
        found = model(seen).last_hidden_state
    if found.ndim == 4:
        return found
    patches = found[:, -grid[0] * grid[1] :]
    return patches.transpose(1, 2).reshape(len(seen), -1, *grid)


@pytest.mark.parametrize("kind", hub_encoders.TYPES)
def test_a_towers_map_is_upstreams_with_its_own_weights(kind: str, tmp_path: Path) -> None:
    model = tower(kind, tmp_path)
    for step in (1, 2) if kind not in hub_encoders.FIXED else (1,):
        size = (64 if "hidden_sizes" in SMALL.get(kind, {}) else 32) * step
        spec = registry.resolve(f"hf:{tmp_path}@{size}")
        assert (spec.width, spec.task) == (32, kind)
        encoder = build_encoder(spec).eval()
        image = pixels(size)
        expected = upstream(model, encoder.normalise(image), spec.grid)
        torch.testing.assert_close(encoder(image).tensor, expected, rtol=1e-6, atol=1e-6)
        assert encoder(image).shape == encoder.shape
        assert cost.cost(spec) == cost.measured(spec)


@pytest.mark.parametrize("kind", hub_encoders.TYPES)
def test_what_a_configuration_leaves_out_is_what_transformers_takes(kind: str) -> None:
    config = CONFIG_MAPPING[kind]()
    for key, value in hub_encoders.TYPES[kind].items():
        upstream = getattr(config, key, value)  # ResNet's knows no size of an image
        assert (list(upstream) if isinstance(value, list) else upstream) == value
    if "hidden_size" in hub_encoders.TYPES[kind]:
        assert config.num_hidden_layers == hub_encoders.LAYERS.get(kind, 12)


def test_of_clip_the_tower_alone_is_read(tmp_path: Path) -> None:
    text = {**TRANSFORMER, "vocab_size": 16, "max_position_embeddings": 8}
    model = scattered(CLIPModel(CLIPConfig(vision_config=TRANSFORMER, text_config=text)))
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(NORM))
    encoder = build_encoder(registry.resolve(f"hf:{tmp_path}")).eval()
    image = pixels(32)
    expected = upstream(model.vision_model, encoder.normalise(image), (4, 4))
    torch.testing.assert_close(encoder(image).tensor, expected, rtol=1e-6, atol=1e-6)
    assert not [name for name in encoder.state_dict() if "text" in name]


def test_a_layer_is_upstreams_hidden_state(tmp_path: Path) -> None:
    model = tower("dinov2", tmp_path)
    encoder = build_encoder(registry.resolve(f"hf:{tmp_path}@32:layer=-2")).eval()
    states = model(encoder.normalise(pixels(32)), output_hidden_states=True).hidden_states
    expected = states[-2][:, 1:].transpose(1, 2).reshape(2, -1, 4, 4)
    torch.testing.assert_close(encoder(pixels(32)).tensor, expected)


def test_a_tower_of_stages_has_no_layers_to_choose(tmp_path: Path) -> None:
    tower("convnext", tmp_path)
    with pytest.raises(UserError, match="'layer' is for plain vision transformers"):
        registry.resolve(f"hf:{tmp_path}@64:layer=2")


def test_weights_in_a_folder_are_known_by_their_content(tmp_path: Path) -> None:
    tower("vit", tmp_path)
    spec = registry.resolve(f"hf:{tmp_path}")
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    save_file({name: tensor + 1 for name, tensor in state.items()}, file)
    with pytest.raises(UserError, match="have changed"):
        build_encoder(spec)
    assert registry.resolve(f"hf:{tmp_path}").weights.sha256 != spec.weights.sha256
    name = next(name for name in state if name.endswith("layernorm.weight"))
    save_file({k: tensor for k, tensor in state.items() if k != name}, file)
    with pytest.raises(UserError, match=r"fills the model's tensor 'model\.layernorm\.weight'"):
        build_encoder(registry.resolve(f"hf:{tmp_path}"))
    file.rename(tmp_path / "pytorch_model.bin")  # which could run any code
    with pytest.raises(UserError, match=r"no weights at .*model\.safetensors"):
        build_encoder(registry.resolve(f"hf:{tmp_path}"))


def test_a_repository_is_found_where_fetch_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"no config\.json of 'some/tower'.*`ablate fetch STUDY`"):
        registry.resolve("hf:some/tower@64")
    tower("dinov3_vit", tmp_path / "some" / "tower")
    spec = registry.resolve("hf:some/tower@64")
    assert (spec.title, spec.grid, spec.mean) == ("hf:some/tower@64", (8, 8), (0.4, 0.5, 0.6))
    assert (spec.weights.kind, spec.weights.ref) == ("published", "some/tower")
    assert build_encoder(spec)(pixels(64)).shape == (32, 8, 8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "dinov4"}, r"is of no vision tower 'dinov4'; did you mean 'dinov2'"),
        ({"model_type": "llama"}, r"is of no vision tower 'llama'"),
        (
            {"auto_map": {"AutoModel": "mine.Tower"}, "model_type": "mine"},
            r"no vision tower 'mine'",
        ),
        ({"model_type": None, "vision_config": None}, "no vision tower 'None'"),
        ({"hidden_size": None}, "hidden_size must be a whole number above 0, got null"),
        ({"patch_size": 0}, "patch_size must be a whole number above 0, got 0"),
        ({"patch_size": []}, r"patch_size must be a whole number above 0, got \[\]"),
        ({"image_size": "large"}, 'image_size must be a whole number above 0, got "large"'),
        ({"hidden_sizes": []}, r"hidden_sizes must be a whole number above 0, got \[\]"),
    ],
)
def test_what_is_no_tower_is_one_line(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    tower("dinov2", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=says):
        registry.resolve(f"hf:{tmp_path}@32")


def test_sizes_and_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    tower("aimv2_vision_model", tmp_path)
    with pytest.raises(UserError, match="positions are for 32 pixels alone"):
        registry.resolve(f"hf:{tmp_path}@64")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"no image_mean and image_std .*preprocessor_config\.json"):
        registry.resolve(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        registry.resolve(f"hf:{tmp_path}")
