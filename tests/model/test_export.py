"""An exported folder answers as the model in it did, where ablate cannot be imported."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import covering
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from ablate.catalog import llms
from ablate.catalog.encoder_families import FAMILIES
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.catalog.model_spec import ModelSpec
from ablate.data.chat import Chat
from ablate.data.collate import collate
from ablate.data.dataset import Sample
from ablate.data.images import as_array
from ablate.errors import UserError
from ablate.model.export import Speech, code, export_model
from ablate.model.export.llava import export_llava
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm, build_model
from fusion_zoo import FUSIONS
from fusion_zoo.connectors import CONNECTORS

Make = Callable[..., Mllm]
QUESTIONS = ["w3 w4 w5", "w9", "w12 w13 w14 w15 w16", "w7 w8"]
NEW = 5
VOCABULARY = 40

ASK = """
import json, sys
sys.modules["ablate"] = sys.modules["fusion_zoo"] = None  # importing them fails
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
pictures, questions, new, folders = json.loads(sys.argv[1])
talks = [
    [{"role": "user", "content": [
        {"type": "image", "image": Image.open(f"{pictures}/{n}.png")},
        {"type": "text", "text": question},
    ]}]
    for n, question in enumerate(questions)
]
words = dict(add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt")
for folder, dtype in folders:
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(
        folder, trust_remote_code=True, dtype=getattr(torch, dtype)
    )
    def answers(talks):
        inputs = processor.apply_chat_template(talks, **words)
        said = model.generate(**inputs, max_new_tokens=new)
        return said[:, inputs["input_ids"].shape[1]:].tolist()
    together, alone = answers(talks), [answers([talk])[0] for talk in talks]
    print(json.dumps({"together": together, "alone": alone, "dtype": str(model.dtype)}))
"""


def ask_elsewhere(pictures: Path, folders: list[tuple[Path, str]]) -> list[dict[str, Any]]:
    """What each folder answers, computing in a precision, in one process that cannot import ablate:
    all at once, and one by one."""
    words = [str(pictures), QUESTIONS, NEW, [(str(folder), how) for folder, how in folders]]
    told = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(words)],
        capture_output=True,
        text=True,
        cwd=pictures,
        env={**os.environ, "HF_MODULES_CACHE": str(pictures / "modules")},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]


def draw(folder: Path) -> list[Image.Image]:
    """A picture a question, also as files."""
    generator = torch.Generator().manual_seed(5)
    pictures = []
    for number in range(len(QUESTIONS)):
        pixels = torch.randint(0, 256, (128, 128, 3), dtype=torch.uint8, generator=generator)
        pictures.append(Image.fromarray(pixels.numpy()))
        pictures[-1].save(folder / f"{number}.png")
    return pictures


def answers(
    model: Mllm, tokenizer: PreTrainedTokenizerBase, pictures: list[Image.Image]
) -> list[list[int]]:
    """What the model itself answers."""
    chat = Chat(tokenizer)
    talks = [[{"role": "user", "content": f"<image>\n{question}"}] for question in QUESTIONS]
    samples = [
        Sample(ids, ids < -1000, [as_array(picture)])
        for ids, picture in zip(chat.prompts(talks), pictures, strict=True)
    ]
    return model.generate(collate(samples), NEW, chat.stop_ids)


def until(ids: list[int], stops: list[int]) -> list[int]:
    """Up to the first token that ends an answer."""
    return ids[: min([ids.index(stop) for stop in stops if stop in ids], default=len(ids))]


D_ABSTRACTOR = {"queries": 4, "inner": 16, "layers": 1, "heads": 2, "feed": 16}
MIXTURES: list[tuple[tuple[str, ...], str, str, dict[str, Any]]] = [
    (
        ("clip-micro@32", "convnext-micro@128", "eva02-micro@128"),
        *("channel_concat", "layer"),
        {"name": "d_abstractor", **D_ABSTRACTOR},
    ),
    (("clip-micro@32", "sam-micro@128", "dinov2-micro@64"), "deformable", "none", {"name": "mlp"}),
    (("clip-micro@32", "pix2struct-micro@128"), "llava_hr", "none", {"name": "mlp"}),
    (
        ("clip-micro@32", "dinov2-micro@64"),
        *("sequence_append", "none"),
        {"name": "sva", "inner": 16, "heads": 2, "depth": 1},
    ),
    (("clip-micro@32", "dinov2-micro@64"), "merv", "none", {"name": "identity"}),
]


def test_an_exported_folder_answers_the_same_where_ablate_is_not(
    make_model: Make, tmp_path: Path
) -> None:
    pictures, wanted, folders = draw(tmp_path), [], []
    for number, (titles, fusion, norm, connector) in enumerate(MIXTURES):
        how = {"fusion": fusion, "norm": norm, "connector": connector}
        model = make_model(*titles, grid=4, seed=4, **how)
        tokenizer = load_tokenizer(model.spec.llm)
        speech = Speech.of(tokenizer, None, (0, 0, 0))
        wanted.append(answers(model, tokenizer, pictures))
        folders.append((tmp_path / f"exported{number}", "float32"))
        export_model(model, speech, folders[-1][0], "# A card")
    half = (folders[0][0], "bfloat16")
    *found, rounded = ask_elsewhere(tmp_path, [*folders, half])
    for said, want in zip(found, wanted, strict=True):
        for ids in (said["together"], said["alone"]):
            assert [until(one, speech.stop_ids) for one in ids] == want
    assert all(len({tuple(ids) for ids in want}) > 1 for want in wanted)
    assert rounded["dtype"] == "torch.bfloat16"
    assert all(0 <= token < VOCABULARY for ids in rounded["together"] for token in ids)
    assert (folders[0][0] / "README.md").read_text() == "# A card"


def test_the_code_in_a_folder_is_what_the_model_needs_and_no_more(make_model: Make) -> None:
    files = code(make_model("clip-micro@32", "convnext-micro@128").spec)
    assert {"encoders_clip.py", "encoders_convnext.py", "fusion_zoo_channel_concat.py"} < set(files)
    assert not {"encoders_sam.py", "fusion_zoo_registry.py", "model_mllm.py"} & set(files)
    stands_alone(files)


@pytest.fixture(scope="module")
def spec(make_model: Make) -> ModelSpec:
    return make_model("clip-micro@32").spec


@pytest.mark.parametrize("family", FAMILIES.names())
def test_the_code_of_every_family_can_be_taken_along(spec: ModelSpec, family: str) -> None:
    encoder = dataclasses.replace(spec.encoders[0], family=family)
    stands_alone(code(dataclasses.replace(spec, encoders=[encoder])))


@pytest.mark.parametrize(
    ("fusion", "connector"),
    covering(product(FUSIONS.names(), CONNECTORS.names()), others=pytest.mark.slow),
)
def test_the_code_of_every_part_of_ours_can_be_taken_along(
    spec: ModelSpec, fusion: str, connector: str
) -> None:
    chosen = {**spec.fusion, "name": fusion}
    stands_alone(code(dataclasses.replace(spec, fusion=chosen, connector={"name": connector})))


def stands_alone(files: Mapping[str, str]) -> None:
    """Nothing is imported from our packages, and of the folder only what is there."""
    kept = {name.removesuffix(".py") for name in files}
    for name, text in files.items():
        assert imported_beside(text) <= kept, name


@cache
def imported_beside(text: str) -> set[str]:
    """What of its own folder a file imports; it compiles, and imports nothing of our packages."""
    compile(text, "exported", "exec")
    assert not re.search("(import|from) (ablate|fusion_zoo)", text)
    return set(re.findall(r"^from \.(\S+) import", text, re.MULTILINE))


def test_what_the_exported_code_does_not_do_is_refused(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    speech = Speech.of(load_tokenizer(model.spec.llm), None, (0, 0, 0))
    whole = ModelSpec.to_json
    monkeypatch.setattr(ModelSpec, "to_json", lambda self: {**whole(self), "tiling": {}})
    with pytest.raises(UserError, match="a tiling of its own cannot be exported yet"):
        export_model(model, speech, tmp_path / "exported", "")
    assert not (tmp_path / "exported").exists()


@pytest.fixture
def llava(llm_folder: Path) -> Mllm:
    """A model that is a LLaVA, but for its size; its weights are random."""
    encoder = EncoderSpec(
        "clip-toy-llava",
        "clip_llava",
        resolution=128,
        patch=32,
        width=32,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
        architecture={
            "image_size": 128,
            "patch_size": 32,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        weights=Weights("none"),
    )
    fusion = {"name": "channel_concat", "grid": [4, 4], "options": {}}
    spec = ModelSpec([encoder], fusion, "none", llms.resolve(str(llm_folder)))
    return build_model(spec, load_weights=False, seed=3).eval()


def test_a_llava_is_served_by_the_class_of_transformers(llava: Mllm, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(llava.spec.llm)
    pictures = draw(tmp_path)
    want = answers(llava, tokenizer, pictures)
    speech = Speech.of(tokenizer, None, (0, 0, 0))
    export_llava(llava, speech, tmp_path / "exported", "")
    processor = AutoProcessor.from_pretrained(tmp_path / "exported")
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "exported")
    talks = [
        [
            {
                "role": "user",
                "content": [{"type": "image", "image": picture}, {"type": "text", "text": words}],
            }
        ]
        for picture, words in zip(pictures, QUESTIONS, strict=True)
    ]
    inputs = processor.apply_chat_template(
        talks,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    said = model.generate(**inputs, max_new_tokens=NEW)[:, inputs["input_ids"].shape[1] :]
    assert [until(ids, speech.stop_ids) for ids in said.tolist()] == want
    assert len({tuple(ids) for ids in want}) > 1
    assert not list((tmp_path / "exported").glob("*.py"))


def test_what_is_no_llava_is_refused(make_model: Make, tmp_path: Path) -> None:
    model = make_model("clip-micro@32", grid=4)
    speech = Speech.of(load_tokenizer(model.spec.llm), None, (0, 0, 0))
    with pytest.raises(UserError, match="family 'clip', not 'clip_llava', whose class token takes"):
        export_llava(model, speech, tmp_path / "exported", "")
