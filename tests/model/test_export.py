"""An exported folder answers as the model in it did, where ablate cannot be imported."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import covering
from PIL import Image
from test_connected import told
from test_injections import choice, opened
from test_tiling import TILED
from transformers import PreTrainedTokenizerBase

import fusion_zoo
from ablate.catalog.axes import AXES, TILING
from ablate.catalog.encoder_families import FAMILIES
from ablate.catalog.model_spec import ModelSpec
from ablate.data.chat import Chat
from ablate.data.collate import collate, cut_images
from ablate.data.dataset import Sample
from ablate.data.images import as_array
from ablate.data.notes import note, with_notes
from ablate.errors import UserError
from ablate.model.export import Speech, code, configuration, export_model, processor
from ablate.model.export.configuration_ablate import AblateConfig
from ablate.model.export.llava import Llava
from ablate.model.export.modeling_ablate import AblateForConditionalGeneration
from ablate.model.export.processing_ablate import AblateProcessor
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm
from fusion_zoo import FUSIONS
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS

Make = Callable[..., Mllm]
QUESTIONS = ["w3 w4 w5", "w9", "w12 w13 w14 w15 w16", "w7 w8"]
EACH = [[0], [1], [2], [3]]
SOME = [[0], [1, 2], [], [3]]
"""The pictures that each question is about."""
SQUARE = [(128, 128)] * 4
UNLIKE = [(100, 60), (40, 40), (30, 90), (128, 64)]
"""Widths and heights of pictures."""
NEW = 5
VOCABULARY = 40

ASK = """
import gc, json, sys
gc.disable()  # a fifth of what importing takes
sys.modules["ablate"] = sys.modules["fusion_zoo"] = None  # importing them fails
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
questions, new, exports = json.loads(sys.argv[1])
words = dict(add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt")
for folder, dtype, pictures, shown in exports:
    talks = [
        [{"role": "user", "content": [
            *({"type": "image", "image": Image.open(f"{pictures}/{n}.png")} for n in numbers),
            {"type": "text", "text": question},
        ]}]
        for question, numbers in zip(questions, shown)
    ]
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(
        folder, trust_remote_code=True, dtype=getattr(torch, dtype)
    )
    def answers(talks, **how):
        inputs = processor.apply_chat_template(talks, **words)
        said = model.generate(**inputs, max_new_tokens=new, **how)
        return said[:, inputs["input_ids"].shape[1]:].tolist()
    together, alone = answers(talks), [answers([talk])[0] for talk in talks]
    told = {"together": together, "alone": alone, "dtype": str(model.dtype)}
    if dtype == "float64":
        told["beams"] = answers(talks[:2], num_beams=2)
        told["beam"] = [answers([talk], num_beams=2)[0] for talk in talks[:2]]
    print(json.dumps(told))
"""


Export = tuple[Path, str, Path, list[list[int]]]
"""A folder, the precision to compute in, a folder of pictures, and those of each question."""


def ask_elsewhere(exports: list[Export], cwd: Path) -> list[dict[str, Any]]:
    """What each folder answers, in one process that cannot import ablate: all at once, and one by
    one; computed in float64, also by a search with beams."""
    given = [(str(folder), dtype, str(seen), shown) for folder, dtype, seen, shown in exports]
    told = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps([QUESTIONS, NEW, given])],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "HF_MODULES_CACHE": str(cwd / "modules")},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]


def draw(folder: Path, sizes: list[tuple[int, int]] = SQUARE) -> list[Image.Image]:
    """Pictures of these sizes, also as files."""
    generator = torch.Generator().manual_seed(5)
    folder.mkdir(exist_ok=True)
    pictures = []
    for number, (width, height) in enumerate(sizes):
        shape = height, width, 3
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        pictures.append(Image.fromarray(pixels.numpy()))
        pictures[-1].save(folder / f"{number}.png")
    return pictures


def answers(
    model: Mllm,
    tokenizer: PreTrainedTokenizerBase,
    pictures: list[Image.Image],
    shown: list[list[int]] = EACH,
) -> list[list[int]]:
    """What the model itself answers."""
    chat = Chat(tokenizer)
    pairs = list(zip(shown, QUESTIONS, strict=True))
    said = ["<image>\n" * len(numbers) + question for numbers, question in pairs]
    prompts = chat.prompts([[{"role": "user", "content": content}] for content in said])
    batch = collate([Sample(ids, ids < -1000, []) for ids in prompts])
    seen = [as_array(pictures[number]) for numbers in shown for number in numbers]
    pixels, sizes = cut_images(seen, model.tiles)
    rows = torch.tensor([row for row, numbers in enumerate(shown) for _ in numbers])
    batch = dataclasses.replace(batch, pixels=pixels, sizes=sizes, image_rows=rows)
    return model.generate(batch, NEW, chat.stop_ids)


def until(ids: list[int], stops: list[int]) -> list[int]:
    """Up to the first token that ends an answer."""
    return ids[: min([ids.index(stop) for stop in stops if stop in ids], default=len(ids))]


ASKS = {"name": "qformer", "queries": 2, "inner": 8, "layers": 2, "heads": 2, "instruction": True}
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


INJECTED = [name for name in INJECTIONS.names() if name != "deepstack"]  # it takes no tiling
AXES_CHOSEN = [
    (TILED["anyres"], choice("prefix")),
    (TILING.default, choice("deepstack")),
    *zip(cycle([TILING.default, *TILED.values()]), map(choice, INJECTED), strict=False),
]
"""Tilings and injections: each of them, and pairs of both."""
OTHERWISE = [(0, "bfloat16"), (-1, "bfloat16"), (-2, "float64")]
"""Which of the exports compute in another precision, too."""


@pytest.mark.slow
def test_an_exported_folder_answers_the_same_where_ablate_is_not(
    make_model: Make, tmp_path: Path
) -> None:
    square, unlike = tmp_path / "square", tmp_path / "unlike"
    pictures, of_sizes = draw(square), draw(unlike, UNLIKE)
    wanted, exports = [], []

    def export(model: Mllm, seen: Path, drawn: list[Image.Image], shown: list[list[int]]) -> None:
        tokenizer = load_tokenizer(model.spec.llm)
        wanted.append(answers(model, tokenizer, drawn, shown))
        folder = tmp_path / f"exported{len(exports)}"
        exports.append((folder, "float32", seen, shown))
        export_model(model, Speech.of(tokenizer, None, (0, 0, 0)), folder, "# A card")

    for titles, fusion, norm, connector in MIXTURES:
        how = {"fusion": fusion, "norm": norm, "connector": connector}
        export(make_model(*titles, grid=4, seed=4, **how), square, pictures, EACH)
    for tiling, injection in AXES_CHOSEN:
        model = opened(make_model(seed=4, tiling=tiling, injection=injection))
        seen = (unlike, of_sizes) if model.tiles.cuts else (square, pictures)
        export(model, *seen, SOME)
    others = [(exports[n][0], how, *exports[n][2:]) for n, how in OTHERWISE]
    found = ask_elsewhere([*exports, *others], tmp_path)
    stops = Chat(load_tokenizer(model.spec.llm)).stop_ids
    for said, want in zip(found, wanted, strict=False):
        for ids in (said["together"], said["alone"]):
            assert [until(one, stops) for one in ids] == want
    assert all(len({tuple(ids) for ids in want}) > 1 for want in wanted)
    for said, (_, dtype) in zip(found[len(exports) :], OTHERWISE, strict=True):
        assert said["dtype"] == f"torch.{dtype}"
        assert all(0 <= token < VOCABULARY for ids in said["together"] for token in ids)
        beams = [[until(ids, stops) for ids in said.get(how, [])] for how in ("beams", "beam")]
        assert beams[0] == beams[1]
    assert (exports[0][0] / "README.md").read_text() == "# A card"


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


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"fusion": "coarse_to_fine"}, "its fusion coarse_to_fine has the language model name"),
        ({"fusion": "expert_routing"}, "its fusion expert_routing asks for the question"),
        ({"connector": ASKS}, "its connector qformer asks for the question"),
    ],
)
def test_what_the_exported_code_does_not_do_is_refused(
    make_model: Make, tmp_path: Path, how: dict[str, Any], says: str
) -> None:
    options = told(how["fusion"], fusion_zoo) if "fusion" in how else {}
    model = make_model("clip-micro@32", "dinov2-micro@64", options=options, **how)
    speech = Speech.of(load_tokenizer(model.spec.llm), None, (0, 0, 0))
    with pytest.raises(UserError, match=says):
        export_model(model, speech, tmp_path / "exported", "")
    assert not (tmp_path / "exported").exists()


def test_prompts_and_images_that_do_not_match_are_refused(make_model: Make) -> None:
    made = make_model(tiling=TILED["internvl"], injection=choice("visual_expert"))
    speech = Speech.of(load_tokenizer(made.spec.llm), None, (0, 0, 0))
    model = AblateForConditionalGeneration(configuration(made, speech))
    read = processor(made, speech)(images=[Image.new("RGB", (90, 30))], text="w3 <image> w4")
    unsized = {name: read[name] for name in read if name != "image_sizes"}
    with pytest.raises(ValueError, match="cuts images: give their image_sizes, as the processor"):
        model(**unsized)
    more = read["input_ids"][:, :1].expand(1, 2)
    wrong = {**read, "input_ids": torch.cat([more, read["input_ids"][:, 3:]], 1)}
    with pytest.raises(ValueError, match=r"1 images of 16 tokens, but the prompts have 14 for 1"):
        model(**{**wrong, "attention_mask": torch.ones_like(wrong["input_ids"])})
    with pytest.raises(ValueError, match="images come with the prompt's begin"):
        model(**read, past_key_values=model(**read, use_cache=True).past_key_values)


def test_a_configuration_holds_every_axis() -> None:
    assert AXES.keys() <= signature(AblateConfig.__init__).parameters.keys()


SHOWN = [
    {"of": "annotate:x", "annotator": {"name": "micro_ocr"}, "template": "w5 {text}", "tokens": 4},
    {
        "of": "annotate:y",
        "annotator": {"name": "micro_detector"},
        "template": "{text}",
        "tokens": 2,
    },
]
SAID = [["w1 <image> w2 w3 w4", " w6 w7 w8 "], ["", "w9"], ["", ""], ["w2", "<eot>"]]
"""What two annotators say of each of four pictures: too much, what marks an image, nothing."""


def test_words_of_annotators_stand_in_exported_prompts_as_in_an_evaluation(
    make_model: Make, tmp_path: Path
) -> None:
    model = make_model("clip-micro@32", grid=4)
    chat = Chat(load_tokenizer(model.spec.llm))
    speech = Speech.of(load_tokenizer(model.spec.llm), None, (0, 0, 0), SHOWN)
    processor(model, speech).save_pretrained(tmp_path)
    reader = AblateProcessor.from_pretrained(tmp_path)
    pairs = list(zip(SOME, QUESTIONS, strict=True))
    talks = [
        [{"role": "user", "content": "<image>\n" * len(numbers) + words}]
        for numbers, words in pairs
    ]
    notes = [note(SHOWN, [text.strip() for text in of_image], chat.cut) for of_image in SAID]
    told = [
        with_notes(talk, [notes[number] for number in numbers])
        for talk, numbers in zip(talks, SOME, strict=True)
    ]
    pictures = draw(tmp_path / "pictures")
    parts = [
        [
            {
                "role": "user",
                "content": [
                    *({"type": "image", "image": pictures[number]} for number in numbers),
                    {"type": "text", "text": words},
                ],
            }
        ]
        for numbers, words in pairs
    ]
    words = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    read = reader.apply_chat_template(parts, **words, processor_kwargs={"outputs": SAID})
    tokens = model.num_visual_tokens
    image = reader.tokenizer.convert_tokens_to_ids("<image>")
    for ids, mask, prompt in zip(
        read["input_ids"], read["attention_mask"], chat.prompts(told), strict=True
    ):
        wanted = [
            token for one in prompt.tolist() for token in ([image] * tokens if one < 0 else [one])
        ]
        assert ids[mask.bool()].tolist() == wanted
    assert (
        len({str(prompt) for prompt in chat.prompts(told)} & {*map(str, chat.prompts(talks))}) == 1
    )
    with pytest.raises(
        ValueError, match="show what micro_ocr, micro_detector says of an image: give"
    ):
        reader.apply_chat_template(parts, **words)
    with pytest.raises(ValueError, match="a list of 2 texts for each of 4 images"):
        reader.apply_chat_template(parts, **words, processor_kwargs={"outputs": SAID[:3]})
    whys = " ".join(Llava(model, speech).differences())
    assert "its prompts show what micro_ocr, micro_detector says of an image" in whys
