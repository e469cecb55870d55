"""Contributions to an answer: nothing where nothing can matter, and to first order what is lost."""

import base64
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ablate.catalog import encoders as registry
from ablate.catalog.axes import TILING
from ablate.catalog.model_spec import ModelSpec
from ablate.data.chat import Chat
from ablate.data.collate import collate
from ablate.data.dataset import Sample
from ablate.errors import UserError
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.attribution import attribute
from ablate.evaluate.dialogue import Pixels
from ablate.evaluate.explanations import explain
from ablate.evaluate.score import evaluate
from ablate.files import read_json
from ablate.model.language import load_tokenizer
from ablate.model.mllm import build_model
from ablate.store.answers import ANSWERS
from ablate.store.explanations import EXPLAINED
from fusion_zoo import FeatureMap

TITLES = ("clip-micro@32", "convnext-micro@128", "dinov2-micro@64")
PLACE = (1, 2)
"""The one cell of the grid that the language model is shown."""


def subject(
    candidate: Path,
    norm: str = "layer",
    fusion: str = "channel_concat",
    tiling: Mapping[str, Any] = TILING.default,
) -> Answerer:
    told = ModelSpec.from_json(read_json(candidate / "spec.json")["spec"]["model"])
    spec = dataclasses.replace(
        told,
        encoders=[registry.resolve(title) for title in TITLES],
        fusion={"name": fusion, "grid": [4, 4], "options": {}},
        feature_norm=norm,
        tiling=dict(tiling),
    )
    model = build_model(spec, load_weights=False, seed=3)
    with torch.no_grad():
        for weight in model.projector.parameters():
            weight.mul_(20.0)
    return Answerer(model, load_tokenizer(spec.llm), "three")


def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (3, 128, 128), dtype=np.uint8)


def show_one_cell(made: Answerer) -> None:
    """Of all visual tokens the language model gets only that of one cell."""

    def blank(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept = torch.zeros(16, 1)
        kept[PLACE[0] * 4 + PLACE[1]] = 1.0
        return output * kept

    made.model.projector.register_forward_hook(blank)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_only_the_cell_that_is_seen_contributes_and_only_of_experts_that_are_heard(
    candidate: Path, norm: str
) -> None:
    made = subject(candidate, norm)
    show_one_cell(made)
    width = made.model.mixture.all_encoders[0].shape.channels
    with torch.no_grad():  # the first expert's channels, which come first, are not looked at
        made.model.projector.layers[0][0].weight[:, :width] = 0.0
    maps = attribute(made, "how many things", pixels(), "three")
    assert list(maps) == list(TITLES)
    deaf, *heard = maps.values()
    assert not deaf.any()
    for found in heard:
        assert found.shape == (4, 4)
        assert found[PLACE] != 0
        found[PLACE] = 0
        assert not found.any()


def test_of_an_image_in_tiles_the_place_that_is_seen_contributes(candidate: Path) -> None:
    made = subject(candidate, tiling=TILING.filled({"name": "internvl", "max_tiles": 2}))

    def blank(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept = torch.zeros(3, 16, 1)  # of the left tile, the right one and the whole
        kept[1, PLACE[0] * 4 + PLACE[1]] = 1.0
        return output * kept

    made.model.projector.register_forward_hook(blank)
    wide = np.concatenate([pixels(), pixels()], axis=2)
    for found in attribute(made, "how many things", wide, "three").values():
        assert found.shape == (4, 8)
        assert found[PLACE[0], 4 + PLACE[1]] != 0
        found[PLACE[0], 4 + PLACE[1]] = 0
        assert not found.any()


def test_contributions_are_to_first_order_what_a_weaker_map_loses(candidate: Path) -> None:
    made, little = subject(candidate), 1e-2  # norms and positions stay in float32
    made.model.double()
    maps = attribute(made, "how many things", pixels(), "three")
    for number, found in enumerate(maps.values()):
        more, less = (logarithm(made, "three", number, sign * little) for sign in (-1, 1))
        slope = (more - less) / (2 * little)
        assert slope == pytest.approx(float(found[PLACE]), rel=0.03, abs=1e-4)
        assert abs(slope) > 1e-3


def logarithm(made: Answerer, said: str, number: int, share: float) -> float:
    """The log-probability of the answer where one cell of an expert's map is so much weaker."""

    def weakened(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        maps = list(given[0])
        changed = maps[number].tensor.clone()
        changed[:, :, PLACE[0], PLACE[1]] *= 1 - share
        maps[number] = FeatureMap(changed)
        return maps, *given[1:]

    talk = [
        {"role": "user", "content": "<image>\nhow many things"},
        {"role": "assistant", "content": said},
    ]
    [tokens] = Chat(made.tokenizer).encode([talk])
    hook = made.model.mixture.fusion.register_forward_pre_hook(weakened)
    with torch.no_grad():
        logits, targets = made.model(collate([Sample(tokens.ids, tokens.learn, [pixels()])]))
    hook.remove()
    return float(-nn.functional.cross_entropy(logits[0], targets[0], reduction="sum"))


def test_the_base_is_left_out_where_the_fusion_runs_its_blocks(candidate: Path) -> None:
    maps = attribute(subject(candidate, fusion="llava_hr"), "how many", pixels(), "three")
    assert TITLES[0] not in maps
    assert len(maps) == 2


def test_a_question_that_names_the_mark_of_images_means_no_image_by_it(candidate: Path) -> None:
    made = subject(candidate)
    maps, plain = (attribute(made, f"an {word}", pixels(), "a") for word in ("<image>", "image"))
    assert all(torch.equal(maps[title], plain[title]) for title in TITLES)


def test_an_empty_answer_cannot_be_explained(candidate: Path) -> None:
    with pytest.raises(UserError, match="nothing to explain"):
        attribute(subject(candidate), "how many things", pixels(), "")


def test_a_step_explains_the_answers_of_an_evaluation(step: Callable[..., Any]) -> None:
    evaluated = step("micro-smoke")
    evaluated.work.mkdir()
    evaluate(evaluated)
    rows = [json.loads(line) for line in (evaluated.work / ANSWERS).read_text().splitlines()]
    answered = [row for row in rows if row["answer"]][:2]
    told = step("micro-smoke", "explained")
    told.work.mkdir()
    told.spec = {"questions": [[row["task"], row["id"]] for row in answered]}
    told.parents["evaluate"] = evaluated.work
    assert explain(told) == {"answers": len(answered)}
    explained = json.loads((told.work / EXPLAINED).read_text())
    for row, kept in zip(answered, explained, strict=True):
        assert {name: kept[name] for name in ("task", "id", "answer")}.items() <= row.items()
        assert np.array(kept["maps"]["clip-micro@32"]).shape == (4, 4)
        with Image.open(io.BytesIO(base64.b64decode(kept["picture"]))) as image:
            assert image.size == (128, 128)
    (evaluated.work / "data.json").unlink()
    with pytest.raises(UserError, match="no files of their own"):
        explain(told)
