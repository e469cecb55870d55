"""A model whose visual tokens differ by question is asked each question with its own."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import doc_examples
import pytest
import torch
from PIL import Image

import fusion_zoo
from ablate.catalog import encoders as registry
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.model.mllm import build_model

GREEN = Image.new("RGB", (128, 128), "green")
TEXTS = ("how many things", "is there a circle in red", "what word is in r1", "how many bars")


@pytest.fixture(autouse=True)
def _theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of `docs/extending`, as another package."""
    doc_examples.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")


def ask(adapter: AblateLMM, *texts: str) -> list[str]:
    """Answers to questions about one image, through the requests lmms-eval makes."""
    adapter.task_dict = {"t": {"test": [[GREEN]] * len(texts)}}
    requests: list[Any] = [
        SimpleNamespace(args=(text, {"max_new_tokens": 6}, lambda images: images, n, "t", "test"))
        for n, text in enumerate(texts)
    ]
    return adapter.generate_until(requests)


@pytest.mark.parametrize(("name", "options"), [("question_gate", {}), ("cross_attention", {})])
def test_every_question_about_an_image_has_tokens_of_its_own(
    candidate: Path, name: str, options: dict[str, int]
) -> None:
    plain = Answerer.load(candidate)
    fusion = {"name": name, "grid": [4, 4], "options": {**fusion_zoo.options(name), **options}}
    torch.manual_seed(0)
    model = build_model(dataclasses.replace(plain.model.spec, fusion=fusion), seed=3)
    model.llm.load_state_dict(plain.model.llm.state_dict())
    with torch.no_grad():
        for parameter in model.mixture.fusion.parameters():
            parameter.normal_(std=0.5)
    seen: list[int] = []
    encoder = model.mixture.encoders[0]
    encoder.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    adapter = AblateLMM(dataclasses.replace(plain, model=model), device="cpu", batch_size=3)
    together = ask(adapter, *TEXTS)
    assert sum(seen) == len(TEXTS)
    assert together == [ask(adapter, text)[0] for text in TEXTS]
    assert len(set(together)) > 1
    assert adapter._seen.size == 0


def test_who_is_named_for_a_question_is_kept_and_nobody_else_looks(candidate: Path) -> None:
    plain = Answerer.load(candidate)
    small = {"blocks": 1, "keep": 1, "heads": 2, "head_width": 8}
    fusion = {"name": "coarse_to_fine", "grid": [4, 4], "options": small}
    experts = [registry.resolve(title) for title in ("convnext-micro@64", "dinov2-micro@64")]
    spec = dataclasses.replace(
        plain.model.spec, encoders=[plain.model.spec.encoders[0], *experts], fusion=fusion
    )
    model = build_model(spec, load_weights=False, seed=3)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.mixture.fusion.get_parameter("naming.weight"), std=3.0)
    looked = [0, 0]

    def count(number: int) -> Any:
        def add(module: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
            looked[number] += len(args[0])

        return add

    for number, expert in enumerate(model.mixture.encoders[1:]):
        expert.register_forward_pre_hook(count(number))
    adapter = AblateLMM(dataclasses.replace(plain, model=model), device="cpu", batch_size=3)
    ask(adapter, *TEXTS)
    named = [who for [who] in adapter.named.values()]  # of an image each
    assert len(named) == len(TEXTS)
    assert [sum(of_expert) for of_expert in zip(*named, strict=True)] == looked
    assert 0 < sum(looked) <= len(TEXTS)
