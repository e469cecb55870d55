"""A mixture that transformers has itself answers the same through transformers' own class."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from test_export import NEW, QUESTIONS, SOME, UNLIKE, answers, draw, until
from test_injections import choice
from test_tiling import TILED
from transformers import AutoModelForImageTextToText, AutoProcessor

from ablate.catalog import llms
from ablate.catalog.axes import AXES
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.errors import UserError
from ablate.model.export import Speech
from ablate.model.export.idefics3 import Idefics3, _keeps_order
from ablate.model.export.internvl import InternVl
from ablate.model.export.llava import Llava
from ablate.model.export.native import NativeFormat
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm, ModelSpec, build_model

Make = Callable[..., Mllm]
TOWER = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
INTERNVL = {"name": "pixel_shuffle", "style": "internvl"}
IDEFICS3 = {"name": "pixel_shuffle", "style": "idefics3"}
MADE: Mapping[str, tuple[type[NativeFormat], str, dict[str, Any], dict[str, Any]]] = {
    "llava": (Llava, "clip_llava", {}, {}),
    "internvl": (InternVl, "internvit", {}, {"connector": INTERNVL}),
    "internvl in tiles": (
        *(InternVl, "internvit", {"norm_type": "rms_norm", "use_qk_norm": True}),
        {"connector": INTERNVL, "tiling": {"name": "internvl", "max_tiles": 4}},
    ),
    "internvl of the hub": (
        *(InternVl, "hf", {"model_type": "internvl_vision", "use_mean_pooling": False}),
        {"connector": INTERNVL, "tiling": {"name": "internvl", "max_tiles": 2, "min_tiles": 2}},
    ),
    "idefics3": (Idefics3, "siglip", {}, {"connector": IDEFICS3, "tiling": {"name": "idefics3"}}),
    "idefics3 of the hub": (
        *(Idefics3, "hf", {"model_type": "siglip_vision_model"}),
        {"connector": IDEFICS3, "tiling": {"name": "idefics3"}},
    ),
    "idefics3, finer": (
        *(Idefics3, "siglip", {"image_size": 24, "hidden_act": "gelu"}),
        {"connector": {**IDEFICS3, "size": 4}, "tiling": {"name": "idefics3"}},
    ),
}
"""A format, the family and the architecture of an encoder, and what else is chosen."""


@pytest.fixture
def make(llm_folder: Path) -> Callable[..., Mllm]:
    """A model that is one of transformers' own, but for its size; its weights are random."""

    def made(family: str, architecture: Mapping[str, Any], /, **chosen: Any) -> Mllm:
        encoder = EncoderSpec(
            "toy",
            family,
            resolution=32,
            patch=8,
            width=32,
            mean=(0.4, 0.5, 0.6),
            std=(0.2, 0.3, 0.25),
            architecture={**TOWER, **architecture},
            weights=Weights("none"),
        )
        fusion = {"name": "channel_concat", "grid": [4, 4], "options": {}}
        axes = {axis: AXES[axis].filled(wanted) for axis, wanted in chosen.items()}
        spec = ModelSpec([encoder], fusion, "none", llms.resolve(str(llm_folder)), **axes)
        model = build_model(spec, load_weights=False, seed=3).eval()
        with torch.no_grad():  # classes of transformers start some at zero or one
            for weights in [*model.mixture.parameters(), *model.projector.parameters()]:
                weights.add_(0.2 * torch.randn(weights.shape))
        return model

    return made


@pytest.mark.parametrize("name", MADE)
def test_a_native_folder_answers_the_same_through_the_class_of_transformers(
    make: Make, tmp_path: Path, name: str
) -> None:
    native, family, architecture, chosen = MADE[name]
    model = make(family, architecture, **chosen)
    tokenizer = load_tokenizer(model.spec.llm)
    pictures = draw(tmp_path, UNLIKE if "tiling" in chosen else [(32, 32)] * 4)
    want = answers(model, tokenizer, pictures, SOME)
    assert len({tuple(ids) for ids in want}) > 1
    speech = Speech.of(tokenizer, None, (0, 0, 0))
    folder = tmp_path / "exported"
    native(model, speech).require()
    native(model, speech).write(folder, "# A card")
    reader = AutoProcessor.from_pretrained(folder)
    whole = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(whole) is native.model_class
    talks = [
        [
            {
                "role": "user",
                "content": [
                    *({"type": "image", "image": pictures[number]} for number in numbers),
                    {"type": "text", "text": words},
                ],
            }
        ]
        for numbers, words in zip(SOME, QUESTIONS, strict=True)
    ]
    for some in (talks, *([talk] for talk in talks)):
        inputs = reader.apply_chat_template(
            some,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        said = whole.generate(**inputs, max_new_tokens=NEW)[:, inputs["input_ids"].shape[1] :]
        first = talks.index(some[0])
        found = [until(ids, speech.stop_ids) for ids in said.tolist()]
        assert found == want[first : first + len(some)]
    assert not list(folder.glob("*.py"))
    assert (folder / "README.md").read_text() == "# A card"


def speech_of(model: Mllm) -> Speech:
    return Speech.of(load_tokenizer(model.spec.llm), None, (0, 0, 0))


@pytest.mark.parametrize(
    ("native", "family", "chosen", "says"),
    [
        (Llava, "siglip", {}, "family 'siglip', not 'clip_llava', whose class token takes part"),
        (Llava, "clip_llava", {"tiling": TILED["s2"]}, "are cut by the tiling s2"),
        (Llava, "clip_llava", {"injection": choice("prefix_lm")}, "is prefix_lm, not prefix"),
        (InternVl, "siglip", {}, "is none of the family 'internvit', nor an hf:PATH of"),
        (InternVl, "internvit", {}, "is mlp, not pixel_shuffle"),
        (
            *(InternVl, "internvit"),
            {"connector": INTERNVL, "tiling": TILED["windows"]},
            "by the tiling windows, not internvl",
        ),
        (
            *(InternVl, "internvit"),
            {"connector": INTERNVL, "tiling": {"name": "internvl", "thumbnail": False}},
            "its tiles come without thumbnail",
        ),
        (
            *(InternVl, "internvit"),
            {"connector": INTERNVL, "tiling": {**TILED["internvl"], "tile": 64}},
            "its tiles have 64 pixels, not the encoder's 32",
        ),
        (Idefics3, "internvit", {}, "is none of the family 'siglip', nor an hf:PATH of"),
        (Idefics3, "siglip", {"connector": INTERNVL}, "not pixel_shuffle style=idefics3"),
        (Idefics3, "siglip", {"connector": IDEFICS3}, "is none, not idefics3, which has its words"),
        (
            *(Idefics3, "siglip"),
            {"connector": {**IDEFICS3, "size": 3}, "tiling": {"name": "idefics3"}},
            "the 4 rows of encoder 'toy@32' are no 3s",
        ),
    ],
)
def test_what_a_class_of_transformers_does_not_do_is_refused(
    make: Make, native: type[NativeFormat], family: str, chosen: dict[str, Any], says: str
) -> None:
    model = make(family, {}, **chosen)
    whole = rf"{says}.*: it is no {native.title} as transformers has it; leave out --as"
    with pytest.raises(UserError, match=whole):
        native(model, speech_of(model)).require()


def test_two_encoders_resized_maps_and_padded_images_are_none_of_them(make_model: Make) -> None:
    model = make_model("clip-micro@32", "dinov2-micro@64", grid=2, norm="layer")
    padded = Speech.of(load_tokenizer(model.spec.llm), 64, (0, 0, 0))
    whys = list(InternVl(model, padded).differences())
    assert "it has 2 encoders, not one" in whys
    assert "fusion channel_concat resizes the encoder's map or does more to it" in whys
    assert "feature_norm is not 'none'" in whys
    assert "its images are padded to a square; with tiling: internvl they are not" in whys


def test_positions_that_idefics3_mixes_up_are_known() -> None:
    assert [side for side in range(1, 33) if not _keeps_order(side)] == [19, 25, 29, 31]
