import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from ablate.catalog import llms
from ablate.catalog.llm_folder import checksum
from ablate.catalog.llms import LlmSpec
from ablate.data.batch import IMAGE_TOKEN_ID
from ablate.data.chat import Chat
from ablate.encoders.tensors import convert
from ablate.errors import UserError
from ablate.model.language import load_llm, load_tokenizer


def numbers_of(spec: LlmSpec) -> int:
    return sum(p.numel() for p in load_llm(spec, load_weights=False).parameters())


def copied(folder: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def published(**changes: Any) -> LlmSpec:
    """A published model of the tiny one's shape."""
    return LlmSpec("tiny", "published", "someone/tiny", width=32, context=128, **changes)


def test_the_papers_language_models_are_there_at_their_published_sizes() -> None:
    names = ["smollm2-135m", "vicuna-7b", "vicuna-13b", "llama3-8b", "yi-34b"]
    names += ["qwen2.5-0.5b", "qwen2.5-1.5b", "smollm2-1.7b"]
    assert [spec.name for spec in llms.specs()] == ["llama-micro", *names]
    for spec in llms.specs():
        with torch.device("meta"):
            model = load_llm(spec, load_weights=False)
        assert sum(p.numel() for p in model.parameters()) == spec.parameters
        assert model.config.num_hidden_layers == spec.layers
        assert model.config.max_position_embeddings == spec.context
        assert spec.licence
        assert spec.source


def test_a_published_model_is_known_by_its_repository_whether_it_is_here_or_not(
    llm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    before = llms.resolve("vicuna-7b").to_json()
    assert before["ref"] == "lmsys/vicuna-7b-v1.5"
    assert before["template"] == llms.VICUNA
    with pytest.raises(UserError, match=r"no config\.json of lmsys/vicuna-7b-v1\.5, neither in"):
        load_llm(llms.resolve("vicuna-7b"))
    copied(llm_folder, tmp_path / "lmsys" / "vicuna-7b-v1.5")
    assert llms.resolve("vicuna-7b").to_json() == before
    assert llms.resolve("lmsys/vicuna-7b-v1.5").name == "vicuna-7b"


def test_any_repository_on_this_machine_resolves_by_its_content(
    llm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"or as a repository in .*own or the hub's cache"):
        llms.resolve("someone/tiny")
    cached = tmp_path / "cache" / "models--someone--tiny"
    copied(llm_folder, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    there = llms.resolve("someone/tiny")
    copied(llm_folder, tmp_path / "own" / "someone" / "tiny")
    here = llms.resolve("someone/tiny")
    assert there.ref != here.ref
    assert there.sha256 == here.sha256 == llms.resolve(str(llm_folder)).sha256
    load_llm(here)


def test_a_models_own_chat_template_goes_before_its_tokenizers(
    llm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    copied(llm_folder, tmp_path / "someone" / "tiny")
    assert load_tokenizer(published()).chat_template != llms.VICUNA
    tokenizer = load_tokenizer(published(template=llms.VICUNA))
    said = ["<image>\nWhat?", "A cat.", "Sure?"]
    turns = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(said)]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == (
        " A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: <image> \n"
        "What? ASSISTANT: A cat.w1USER: Sure? ASSISTANT:"
    )


SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)


@pytest.fixture
def vicuna(tmp_path: Path) -> tuple[LlmSpec, Any]:
    """A tokenizer as Vicuna's is published, a sentencepiece model alone, and that model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"{SYSTEM} USER: What is red? ASSISTANT: A circle."] * 9),
        model_writer=model,
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False}
    values = {**special, "tokenizer_class": "LlamaTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    spec = LlmSpec("vicuna", "path", str(tmp_path), 32, 128, template=llms.VICUNA)
    return spec, sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def talk(asked: str, said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def test_vicunas_tokenizer_and_our_template_give_the_tokens_llava_trains_on(vicuna: Any) -> None:
    """LLaVA encodes the text with the published model, what stands before and after an image each
    by itself."""
    spec, published = vicuna
    chat = Chat(load_tokenizer(spec))
    said = "What is red? ASSISTANT: A circle."
    [tokens] = chat.encode([talk("What is red?", "A circle.")])
    assert tokens.ids.tolist() == [1, *published.encode(f"{SYSTEM} USER: {said}"), 2]
    answer = [*published.encode("A circle."), 2]
    assert tokens.ids[tokens.learn].tolist() == answer
    [tokens] = chat.encode([talk("<image>\nWhat is red?", "A circle.")])
    around = published.encode(f"{SYSTEM} USER: "), published.encode(f"\n{said}")
    assert tokens.ids.tolist() == [1, *around[0], IMAGE_TOKEN_ID, *around[1], 2]
    assert tokens.ids[tokens.learn].tolist() == answer


def test_the_plain_prompt_gives_the_tokens_llava_pretrains_on(vicuna: Any) -> None:
    """An image, then its caption to the end of the line; what was asked is left out."""
    spec, published = vicuna
    asked = talk("<image>\nDescribe it.", "A circle is red.")
    [tokens] = Chat(load_tokenizer(spec), plain=True).encode([asked])
    caption = published.encode("A circle is red.\n")
    assert tokens.ids.tolist() == [1, IMAGE_TOKEN_ID, *caption]
    assert tokens.ids[tokens.learn].tolist() == caption


def test_pickled_weights_are_refused_and_work_once_converted(
    llm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    folder = copied(llm_folder, tmp_path / "someone" / "tiny")
    (folder / "model.safetensors").unlink()
    model = load_llm(published(), load_weights=False)
    torch.save(model.state_dict(), folder / "pytorch_model-00001-of-00001.bin")
    index = folder / "pytorch_model.bin.index.json"
    places = dict.fromkeys(model.state_dict(), "pytorch_model-00001-of-00001.bin")
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with pytest.raises(UserError, match=r"pytorch_model\.bin\.index\.json is a pickle"):
        load_llm(published())
    convert(index, folder / "model.safetensors.index.json")
    loaded = load_llm(published()).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_a_large_models_files_are_hashed_once(
    llm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.files.REMEMBERED", 1)
    folder = copied(llm_folder, tmp_path / "large")
    before = checksum(folder)
    with monkeypatch.context() as patch:
        patch.setattr("ablate.files.sha256_file", lambda path: pytest.fail(f"read {path}"))
        assert checksum(folder) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert checksum(folder) != before


def test_the_shipped_model_and_any_folder_resolve(llm_folder: Path) -> None:
    assert llms.resolve("llama-micro").width == 128
    spec = llms.resolve(str(llm_folder))
    assert (spec.name, spec.kind, spec.width, spec.context) == ("tiny", "path", 32, 128)
    assert (spec.layers, spec.parameters) == (2, numbers_of(spec))
    assert LlmSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("load_weights", [True, False])
def test_a_model_is_in_float32_whatever_it_was_saved_in(load_weights: bool) -> None:
    model = load_llm(llms.resolve("llama-micro"), load_weights=load_weights)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no llm 'lama-micro'.*did you mean 'llama-micro'"):
        llms.resolve("lama-micro")
    for nothing in str(tmp_path), "~/nothing", "some/where/else", "a b/c", "":
        with pytest.raises(UserError, match="no llm"):
            llms.resolve(nothing)


@pytest.mark.parametrize("layers", [None, "many", 2.5, -1])
def test_a_configuration_that_says_no_layers_is_known_without_and_nonsense_is_one_line(
    layers: object, llm_folder: Path, tmp_path: Path
) -> None:
    config = json.loads((llm_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    if layers is None:
        assert llms.resolve(str(tmp_path)).layers == 0
        return
    with pytest.raises(UserError, match="num_hidden_layers must be a whole number above 0"):
        llms.resolve(str(tmp_path))


def test_the_checksum_follows_weights_configuration_and_tokenizer(
    llm_folder: Path, tmp_path: Path
) -> None:
    for file in llm_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    seen = {checksum(llm_folder)}
    assert checksum(tmp_path) in seen
    for name in "model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja":
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
        assert checksum(tmp_path) not in seen
        seen.add(checksum(tmp_path))
    (tmp_path / "notes.txt").write_text("no matter")
    assert checksum(tmp_path) in seen


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
