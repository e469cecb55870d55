import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from ablate.errors import UserError
from ablate.model.export import export_model, load_exported
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm

Make = Callable[..., Mllm]


@pytest.fixture
def exported(make_model: Make, tmp_path: Path) -> tuple[Mllm, Path]:
    model = make_model("clip-micro@32", "sam-micro@128", fusion="mini_gemini", seed=4)
    folder = tmp_path / "exported"
    export_model(model, load_tokenizer(model.spec.llm), folder, {"finetune": "abc123"})
    return model, folder


def test_an_exported_model_loads_again_from_its_folder_alone(exported: tuple[Mllm, Path]) -> None:
    model, folder = exported
    again = load_exported(folder).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again[name], tensor), name


def test_the_folder_is_laid_out_as_on_hugging_face(exported: tuple[Mllm, Path]) -> None:
    model, folder = exported
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "ablate"
    assert config["text_config"]["model_type"] == "llama"
    assert sum(t.numel() for t in load_file(folder / "model.safetensors").values()) == sum(
        p.numel() for p in model.parameters()
    )
    assert AutoTokenizer.from_pretrained(folder)("w3 w4").input_ids == [3, 4]
    readme = (folder / "README.md").read_text()
    assert "abc123" in readme
    assert "`sam-micro@128`: segmentation; Apache-2.0" in readme


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no exported model"):
        load_exported(tmp_path)
