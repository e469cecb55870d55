"""Under a tiling, questions about images of unlike sizes are answered as each would be alone."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ablate.catalog.axes import TILING
from ablate.evaluate.adapter import AblateLMM, Answerer
from ablate.model.mllm import build_model
from fusion_zoo.tilings import TILINGS

SIZES = [(60, 40), (32, 32), (40, 90), (60, 40), (90, 40), (40, 90)]
TEXTS = ["how many things", "what word is in r1", "how many bars", "is there a circle in red"]
FEW: dict[str, dict[str, Any]] = {
    "internvl": {"max_tiles": 2},
    "internlm_xcomposer": {"max_tiles": 2},
    "llava_uhd": {"max_slices": 2},
    "anyres": {"grids": ["2x1", "1x2"]},
    "windows": {"rows": 1},
}
"""Options with which the tiny language model has room."""


def drawn(number: int) -> Image.Image:
    width, height = SIZES[number]
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def ask(adapter: AblateLMM, *questions: tuple[str, list[Image.Image]]) -> list[str]:
    adapter.task_dict = {"t": {"test": [images for _, images in questions]}}
    requests: list[Any] = [
        SimpleNamespace(args=(text, {"max_new_tokens": 5}, lambda images: images, n, "t", "test"))
        for n, (text, _) in enumerate(questions)
    ]
    return adapter.generate_until(requests)


@pytest.fixture(params=TILINGS.names())
def adapter(request: pytest.FixtureRequest, candidate: Path) -> AblateLMM:
    plain, name = Answerer.load(candidate), request.param
    tiling = TILING.filled({"name": name, **FEW.get(name, {})})
    spec = dataclasses.replace(
        plain.model.spec, tiling=tiling, fusion={**plain.model.spec.fusion, "grid": [2, 2]}
    )
    model = build_model(spec, seed=3)
    model.llm.load_state_dict(plain.model.llm.state_dict())
    with torch.no_grad():  # the image must matter, as it would after training
        for weight in model.projector.parameters():
            weight.mul_(20.0)
    answerer = dataclasses.replace(plain, model=model, canvas=64)
    return AblateLMM(answerer, device="cpu", batch_size=4)


def test_answers_are_those_to_each_question_alone(adapter: AblateLMM) -> None:
    questions = [(TEXTS[n % 4], [drawn(n)]) for n in range(6)]
    questions.append(("<image> <image> how many bars", [drawn(0), drawn(1)]))
    questions.append((TEXTS[0], []))
    together = ask(adapter, *questions)
    assert together == [ask(adapter, question)[0] for question in questions]
    assert len({*together}) > 2


def test_an_image_goes_through_the_encoders_once_for_all_questions(adapter: AblateLMM) -> None:
    seen: list[int] = []
    adapter.model.mixture.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    image = drawn(2)
    ask(adapter, *[(text, [image]) for text in TEXTS])
    assert sum(seen) == adapter.tiles.tiling.num_views(SIZES[2])


def test_questions_stand_by_their_length_with_their_images(adapter: AblateLMM) -> None:
    lengths: list[int] = []
    answer = adapter._answer

    def noted(asks: Any) -> list[str]:
        lengths.extend(map(adapter._tokens, asks))
        return answer(asks)

    adapter._answer = noted  # type: ignore[method-assign]
    ask(adapter, *[("how many bars", [drawn(n)]) for n in range(6)])
    assert lengths == sorted(lengths)
    assert len({*lengths}) == 1 if adapter.tiles.tiling.fixed else len({*lengths}) > 1


def test_a_question_whose_images_leave_no_room_is_left_unanswered(
    adapter: AblateLMM, capsys: pytest.CaptureFixture[str]
) -> None:
    many = 128 // adapter.tiles.count(SIZES[0]) + 1
    assert ask(adapter, ("how many", [drawn(0)] * many), ("how many", [drawn(0)]))[0] == ""
    assert "question 0: left unanswered" in capsys.readouterr().err
