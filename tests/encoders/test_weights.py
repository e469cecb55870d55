"""Published weights are found offline, every tensor accounted for, and nothing is unpickled."""

import json
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_toys import REPOSITORY, internvit_state
from encoder_toys import INTERNVIT
from safetensors.torch import load_file, save_file
from torch import Tensor

from ablate.catalog import encoders as registry
from ablate.catalog import weights as hub
from ablate.catalog.encoder_spec import Weights
from ablate.encoders.build import build_encoder
from ablate.encoders.tensors import convert
from ablate.errors import UserError
from ablate.files import sha256_file


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own" / REPOSITORY
    folder.mkdir(parents=True)
    return folder


def build(file: str = "model.safetensors", **more: Any) -> dict[str, Tensor]:
    weights = Weights("published", REPOSITORY, file=file, **more)
    return build_encoder(replace(INTERNVIT, weights=weights)).state_dict()


STATE = internvit_state()


def test_weights_are_kept_in_the_home_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.delenv("ABLATE_WEIGHTS", raising=False)
    assert hub.weights_home() == own_home / "weights"


def test_a_cache_of_the_hub_is_read_without_a_network(repository: Path, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "models--someone--model"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    save_file(STATE, cached / "snapshots" / "abc" / "model.safetensors")
    assert build().keys() == build(revision="abc").keys()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        build(revision="abd")


def test_missing_weights_name_the_repository_and_where_they_were_looked_for(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        build()
    said = str(caught.value)
    assert said.startswith("encoder 'internvit-toy@64': no model.safetensors of someone/model")
    assert str(repository) in said
    assert str(tmp_path / "cache") in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"encoder.layers.1.ls2": None},
            r"nothing in it fills .*'model\.encoder\.layer\.1\.lambda_2'",
        ),
        ({"encoder.layers.1.ls3": torch.zeros(32)}, r"'encoder\.layers\.1\.ls3' is unknown"),
        ({"encoder.layers.2.ls2": torch.zeros(32)}, r"'encoder\.layers\.2\.ls2' is unknown"),
        ({"encoder.layers.0.ls1": torch.zeros(31)}, r"ls1' has shape \(31,\), not \(32,\)"),
        ({"encoder.layers.0.attn.qkv.weight": torch.zeros(64, 32)}, r"qkv.* has shape \(22, 32\)"),
    ],
)
def test_a_tensor_out_of_place_is_one_clear_error(
    repository: Path, change: dict[str, Tensor | None], says: str
) -> None:
    state = {name: tensor for name, tensor in (STATE | change).items() if tensor is not None}
    save_file(state, repository / "model.safetensors")
    with pytest.raises(UserError, match=says) as caught:
        build()
    assert str(repository / "model.safetensors") in str(caught.value)


def test_a_truncated_file_is_one_clear_error(repository: Path) -> None:
    path = repository / "model.safetensors"
    save_file(STATE, path)
    whole = path.read_bytes()
    for length in 0, 5, 100, len(whole) - 1:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cannot read weights .*model\.safetensors"):
            build()


def test_a_declared_checksum_is_held_to(repository: Path) -> None:
    path = repository / "model.safetensors"
    save_file(STATE, path)
    build(sha256=sha256_file(path))
    with pytest.raises(UserError, match="not those expected"):
        build(sha256="0" * 64)


def shard(folder: Path) -> None:
    names = sorted(STATE)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for file, part in parts.items():
        save_file({name: STATE[name] for name in part}, folder / file)
    places = {name: file for file, part in parts.items() for name in part}
    (folder / "all.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_sharded_weights_are_read_through_their_index(repository: Path) -> None:
    save_file(STATE, repository / "model.safetensors")
    shard(repository)
    whole, sharded = build(), build("all.safetensors.index.json")
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)


def test_a_missing_shard_or_a_damaged_index_is_one_clear_error(repository: Path) -> None:
    shard(repository)
    (repository / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"cannot read weights .*b\.safetensors"):
        build("all.safetensors.index.json")
    (repository / "all.safetensors.index.json").write_text('{"weight_map": [1')
    with pytest.raises(UserError, match="cannot read the index"):
        build("all.safetensors.index.json")
    outside = json.dumps({"weight_map": {"ls1": "../b.safetensors"}})
    (repository / "all.safetensors.index.json").write_text(outside)
    with pytest.raises(UserError, match=r"'\.\./b\.safetensors', which is not beside it"):
        build("all.safetensors.index.json")


@pytest.mark.parametrize(
    ("file", "becomes"),
    [
        ("pytorch_model.bin", "model.safetensors"),
        ("pytorch_model-00001-of-00002.bin", "model-00001-of-00002.safetensors"),
        ("pytorch_model.bin.index.json", "model.safetensors.index.json"),
        ("eva02/det/eva02_L.pth", "eva02/det/eva02_L.safetensors"),
        ("model.safetensors", "model.safetensors"),
        ("binder.json", "binder.json"),
    ],
)
def test_a_pickle_has_one_name_as_safetensors(file: str, becomes: str) -> None:
    assert hub.safetensors_name(file) == becomes


def test_a_pickle_is_never_loaded_but_converted_once(repository: Path) -> None:
    source = repository / "sub" / "net.pth"
    source.parent.mkdir()
    torch.save({"model": STATE, "iteration": 7}, source)
    with pytest.raises(UserError, match="is a pickle and must first be converted") as caught:
        build("sub/net.pth")
    target = repository / "sub" / "net.safetensors"
    assert str(target) in str(caught.value)
    convert(source, target)
    assert all(torch.equal(load_file(target)[name], STATE[name]) for name in STATE)
    build("sub/net.pth")


def test_sharded_pickles_are_converted_with_their_index(repository: Path) -> None:
    names = sorted(STATE)
    parts = {"pytorch_model-1.bin": names[:9], "pytorch_model-2.bin": names[9:]}
    for file, part in parts.items():
        torch.save(OrderedDict((name, STATE[name]) for name in part), repository / file)
    places = {name: file for file, part in parts.items() for name in part}
    index = repository / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    convert(index, repository / "model.safetensors.index.json")
    build("pytorch_model.bin.index.json")


def test_a_pickle_of_an_old_torch_is_converted_too(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors").keys() == STATE.keys()


def test_tensors_that_share_memory_are_converted_each(tmp_path: Path) -> None:
    table = torch.arange(12.0).view(3, 4)
    torch.save({"a": table, "b": table, "c": table.T, "n": 3}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == {"a", "b", "c"}
    assert torch.equal(found["c"].T, found["a"])
    assert torch.equal(found["b"], table)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_code_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1), "b": Code()}, "bad.pth")
    (tmp_path / "worse.pth").write_bytes(pickle.dumps(Code()))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "bad.pth").read_bytes()[:50])
    torch.save({"epoch": 3}, "empty.pth")
    for name in "bad", "worse", "cut", "empty", "missing":
        with pytest.raises(UserError, match=f"{name}.pth"):
            convert(tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors")
        assert not (tmp_path / f"{name}.safetensors").exists()
    assert not (tmp_path / "ran").exists()


def test_planning_needs_no_weights_and_names_them_by_repository_not_by_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identity() -> str:
        return json.dumps(registry.resolve("clip-l14").to_json())

    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "one"))
    without = identity()
    folder = tmp_path / "one" / "openai" / "clip-vit-large-patch14-336"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"no matter")
    assert identity() == without
    assert "openai/clip-vit-large-patch14-336" in without
    assert "pytorch_model.bin" in without
    assert str(tmp_path) not in without
