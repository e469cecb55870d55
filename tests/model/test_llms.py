import json
from dataclasses import replace
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.model import llms
from ablate.model.language import load_llm


def test_the_shipped_model_and_any_folder_resolve(llm_folder: Path) -> None:
    assert [spec.name for spec in llms.specs()] == ["llama-micro"]
    assert llms.resolve("llama-micro").width == 128
    spec = llms.resolve(str(llm_folder))
    assert (spec.name, spec.kind, spec.width, spec.context) == ("tiny", "path", 32, 128)
    assert llms.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no llm 'lama-micro'.*did you mean 'llama-micro'"):
        llms.resolve("lama-micro")
    with pytest.raises(UserError, match="no llm"):
        llms.resolve(str(tmp_path))


def test_the_checksum_follows_weights_configuration_and_tokenizer(
    llm_folder: Path, tmp_path: Path
) -> None:
    for file in llm_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    seen = {llms.checksum(llm_folder)}
    assert llms.checksum(tmp_path) in seen
    for name in "model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja":
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
        assert llms.checksum(tmp_path) not in seen
        seen.add(llms.checksum(tmp_path))
    (tmp_path / "notes.txt").write_text("no matter")
    assert llms.checksum(tmp_path) in seen


def test_other_files_than_those_planned_with_are_refused(llm_folder: Path) -> None:
    spec = replace(llms.resolve(str(llm_folder)), sha256="0" * 64)
    with pytest.raises(UserError, match="not those expected"):
        load_llm(spec)
    load_llm(spec, load_weights=False)


def test_a_width_that_is_not_the_models_is_refused(llm_folder: Path) -> None:
    spec = replace(llms.resolve(str(llm_folder)), width=48)
    with pytest.raises(UserError, match="has width 32, not 48"):
        load_llm(spec)


def test_published_sampling_settings_do_not_reach_our_greedy_decoding(
    llm_folder: Path, tmp_path: Path
) -> None:
    for file in llm_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = {"repetition_penalty": 5.0, "do_sample": True, "temperature": 0.5}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    assert load_llm(llms.resolve(str(tmp_path))).generation_config.repetition_penalty in (None, 1.0)
