"""Experts that are masked: as if they saw nothing, at the cost of one look at each image."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ablate.catalog import encoders as registry
from ablate.catalog.model_spec import ModelSpec
from ablate.data.images import as_array
from ablate.errors import UserError
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.dialogue import Dialogue
from ablate.evaluate.masked import MaskedLMM, mask
from ablate.evaluate.score import evaluate
from ablate.files import read_json
from ablate.model.language import load_tokenizer
from ablate.model.mixture import feature_map
from ablate.model.mllm import build_model
from ablate.store.masks import MASKED, masks
from fusion_zoo import FeatureMap

TITLES = ("clip-micro@32", "convnext-micro@128", "dinov2-micro@64")
TEXTS = ["how many things", "what word is in r1", "how many bars", "is there a circle in red"]


def answerer(candidate: Path, fusion: str = "channel_concat") -> Answerer:
    """Three experts with random weights on the language model of `candidate`."""
    told = ModelSpec.from_json(read_json(candidate / "spec.json")["spec"]["model"])
    how = {"name": fusion, "grid": [4, 4], "options": {}}
    spec = dataclasses.replace(
        told, encoders=[registry.resolve(title) for title in TITLES], fusion=how
    )
    model = build_model(spec, load_weights=False, seed=3)
    with torch.no_grad():  # the image must matter, as it would after training
        for weight in model.projector.parameters():
            weight.mul_(20.0)
    return Answerer(model, load_tokenizer(spec.llm), "three")


def pictures(count: int = 3) -> list[Image.Image]:
    return [
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (128, 128, 3), dtype=np.uint8))
        for n in range(count)
    ]


def ask(adapter: AblateLMM, images: Sequence[Image.Image], task: str = "t") -> list[str]:
    """Every text about every image, as lmms-eval asks."""
    pairs = [(text, image) for text in TEXTS for image in images]
    adapter.task_dict = {task: {"test": [[image] for _, image in pairs]}}
    options = {"max_new_tokens": 6}
    requests = [
        SimpleNamespace(args=(text, options, lambda shown: shown, number, task, "test"))
        for number, (text, _) in enumerate(pairs)
    ]
    return adapter.generate_until(requests)  # type: ignore[arg-type]


@contextmanager
def replaced(model: torch.nn.Module, stand_ins: dict[int, torch.Tensor | float]) -> Iterator[None]:
    """The encoders of these numbers give what stands in for their map, whatever they see."""

    def give(value: torch.Tensor | float) -> Callable[..., FeatureMap]:
        return lambda module, inputs, output: FeatureMap(
            torch.zeros_like(output.tensor) + torch.as_tensor(value)
        )

    hooks = [
        model.mixture.encoders[number].register_forward_hook(give(value))  # type: ignore[index, union-attr]
        for number, value in stand_ins.items()
    ]
    yield
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("way", ["zeros", "mean"])
def test_a_mask_is_as_if_the_expert_gave_the_same_of_every_image(candidate: Path, way: str) -> None:
    subject, images = answerer(candidate), pictures()
    kept = masks(len(TITLES))
    masked = MaskedLMM(subject, kept, way, device="cpu", batch_size=5)
    said = [ask(masked, images)]
    said += [[answers["t", n] for n in range(len(said[0]))] for answers in masked.masked]
    pixels = torch.from_numpy(np.stack([as_array(image) for image in images]))
    for answers, experts in zip(said, kept, strict=True):
        stand_ins: dict[int, torch.Tensor | float] = {
            number: feature_map(encoder, pixels).mean(0, keepdim=True) if way == "mean" else 0.0
            for number, encoder in enumerate(subject.model.mixture.all_encoders)
            if number not in experts
        }
        plain = AblateLMM(subject, device="cpu", batch_size=5)
        with replaced(subject.model, stand_ins):
            assert ask(plain, images) == answers, experts
    assert len({tuple(answers) for answers in said}) == len(kept)


def test_the_mean_over_another_task_s_images_stands_in_for_the_same_ones_anew(
    candidate: Path,
) -> None:
    subject, images = answerer(candidate), pictures()
    masked, alone = (MaskedLMM(subject, masks(3), "mean", device="cpu") for _ in range(2))
    ask(masked, images)
    assert ask(masked, images[:2], "u") == ask(alone, images[:2], "u")
    assert masked.masked == alone.masked


def test_an_image_goes_through_the_encoders_once_for_all_masks(candidate: Path) -> None:
    subject = answerer(candidate)
    seen: Counter[int] = Counter()
    for number, encoder in enumerate(subject.model.mixture.all_encoders):
        encoder.register_forward_hook(
            lambda module, inputs, output, number=number: seen.update({number: len(output.tensor)})
        )
    ask(MaskedLMM(subject, masks(3), "mean", device="cpu", batch_size=5), pictures(4))
    assert seen == {0: 4, 1: 4, 2: 4}


def test_a_fusion_that_runs_the_base_itself_cannot_be_masked(candidate: Path) -> None:
    with pytest.raises(UserError, match="experts of fusion llava_hr cannot be masked"):
        MaskedLMM(answerer(candidate, "llava_hr"), masks(3), "zeros", device="cpu")


@pytest.mark.parametrize("kept", [(0, 1, 2), (1,), ()])
def test_a_conversation_is_masked_alike(candidate: Path, kept: tuple[int, ...]) -> None:
    subject, image = answerer(candidate), as_array(pictures(1)[0])

    def answers(kept: tuple[int, ...] | None = None) -> list[str]:
        talks = [Dialogue(subject, kept) for _ in TEXTS]
        for talk in talks[1:]:  # the first is about no image
            talk.show(image)
        return [talk.say(text) for talk, text in zip(talks, TEXTS, strict=True)]

    masked = answers(kept)
    with replaced(subject.model, {n: 0.0 for n in range(3) if n not in kept}):
        assert answers() == masked


def test_a_step_scores_every_mask_on_the_same_questions_as_the_evaluation(
    step: Callable[..., Any],
) -> None:
    plain = step("micro-smoke")
    plain.work.mkdir()
    evaluate(plain)
    masked = step("micro-smoke", "masked")
    masked.work.mkdir()
    masked.spec |= {"way": "zeros", "masks": [[0], []]}
    result = mask(masked)
    found = json.loads((masked.work / MASKED).read_text())
    rows = [json.loads(line) for line in (plain.work / "answers.jsonl").read_text().splitlines()]
    assert found["questions"] == [[row["task"], row["id"], row["image"]] for row in rows]
    whole, nothing = found["masks"]
    assert whole["kept"] == [0]
    for name in ("score", "weight", "answer"):
        assert whole[f"{name}s"] == [row[name] for row in rows]
    assert nothing["answers"] != whole["answers"]
    assert result["questions"] == len(rows)
    assert sorted(path.name for path in masked.work.iterdir()) == ["data.json", MASKED]


def test_the_masks_of_many_experts_are_those_that_tell_of_one_or_two() -> None:
    assert len(masks(4)) == 2**4 - 1
    assert len(masks(7)) == 1 + 7 + 21 + 7
    assert all(len({tuple(kept) for kept in masks(n)}) == len(masks(n)) for n in range(1, 9))
    assert all(list(masks(n)[0]) == list(range(n)) for n in range(1, 9))
