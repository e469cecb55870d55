from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from ablate.encoders.tensors import save_tensors
from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.model.parts import load_parts, parameter_table, save_parts

Make = Callable[..., Mllm]
PARTS = ["encoders", "fusion", "projector", "llm"]


def randomised(model: Mllm) -> Mllm:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_parts_come_back_as_they_were_saved(make_model: Make, tmp_path: Path) -> None:
    titles = ("clip-micro@32", "sam-micro@128")
    model = randomised(make_model(*titles, fusion="mini_gemini"))
    save_parts(model, tmp_path, PARTS)
    assert {file.name for file in tmp_path.iterdir()} == {
        "encoder-clip-micro_32.safetensors",
        "encoder-sam-micro_128.safetensors",
        "fusion.safetensors",
        "projector.safetensors",
        "llm.safetensors",
    }
    other = make_model(*titles, fusion="mini_gemini", seed=9)
    load_parts(other, tmp_path, PARTS)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_only_the_named_parts_are_touched(make_model: Make, tmp_path: Path) -> None:
    model = randomised(make_model())
    save_parts(model, tmp_path, ["projector"])
    assert [file.name for file in tmp_path.iterdir()] == ["projector.safetensors"]
    other = make_model(seed=9)
    before = {name: t.clone() for name, t in other.state_dict().items()}
    load_parts(other, tmp_path, ["projector"])
    changed = {n.split(".")[0] for n, t in other.state_dict().items() if not t.equal(before[n])}
    assert changed == {"projector"}


def test_damaged_parts_are_named_by_file_and_tensor(make_model: Make, tmp_path: Path) -> None:
    model = make_model()
    save_parts(model, tmp_path, ["projector"])
    path = tmp_path / "projector.safetensors"
    whole = path.read_bytes()
    tensors = load(whole)

    def error_after(change: Callable[[], object]) -> str:
        change()
        with pytest.raises(UserError) as caught:
            load_parts(model, tmp_path, ["projector"])
        return str(caught.value)

    assert str(path) in error_after(lambda: path.write_bytes(whole[:-5]))
    assert str(path) in error_after(lambda: path.write_bytes(b""))
    name = "layers.0.0.weight"
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    missing = error_after(lambda: save_tensors(without, path))
    assert name in missing
    assert "missing" in missing
    extra = error_after(lambda: save_tensors({**tensors, "extra": torch.zeros(1)}, path))
    assert "'extra' is unknown" in extra
    shape = error_after(lambda: save_tensors({**tensors, name: torch.zeros(2, 2)}, path))
    assert name in shape
    assert "(2, 2)" in shape
    assert str(path) in error_after(path.unlink)


def test_an_unknown_part_is_refused(make_model: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'projector'"):
        save_parts(make_model(), tmp_path, ["projektor"])


def test_the_table_counts_what_is_trained(make_model: Make) -> None:
    model = make_model("clip-micro@32", "sam-micro@128")
    model.requires_grad_(False)
    model.parts["projector"].requires_grad_(True)
    table = {row["part"]: row for row in parameter_table(model)}
    assert list(table) == [
        "encoder-clip-micro_32",
        "encoder-sam-micro_128",
        "fusion",
        "projector",
        "llm",
    ]
    assert sum(row["parameters"] for row in table.values()) == sum(
        p.numel() for p in model.parameters()
    )
    trainable = {part: row["trainable"] for part, row in table.items() if row["trainable"]}
    assert trainable == {"projector": table["projector"]["parameters"]}
