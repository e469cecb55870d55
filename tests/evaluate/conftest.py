"""A candidate with random weights on the micro world's tokenizer, and a step to score it in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog import encoders as registry
from ablate.catalog import llms, suites
from ablate.catalog.data_sources import WorldData
from ablate.catalog.model_spec import ModelSpec
from ablate.files import write_json
from ablate.model.mllm import build_model
from ablate.model.parts import save_parts
from ablate.store.steps import Step
from ablate.worker.process_group import StepRanks


@dataclass
class Context:
    """What the worker gives an executor."""

    spec: dict[str, Any]
    parents: dict[str, Path]
    work: Path
    home: Path
    step_kind: str = "evaluate"
    infra: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    seen: list[tuple[int, int, str]] = field(default_factory=list)
    world: StepRanks = field(default_factory=StepRanks)
    annotated: dict[str, Path] = field(default_factory=dict)

    @property
    def prefix(self) -> Path:
        return self.home / "prefixes" / Step(self.step_kind, "step", self.spec).whole.dirname

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.seen.append((done, total, note))


@pytest.fixture(scope="session")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished finetune step."""
    root = tmp_path_factory.mktemp("candidate")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,  # wide, so that greedy choices are clear
    )
    LlamaForCausalLM(config).save_pretrained(root / "llm")
    tokenizer.save_pretrained(root / "llm")
    spec = ModelSpec(
        [registry.resolve("clip-micro@32")],
        {"name": "channel_concat", "grid": [4, 4], "options": {}},
        "layer",
        llms.resolve(str(root / "llm")),
    )
    model = build_model(spec, load_weights=False, seed=3)
    with torch.no_grad():  # the image must matter, as it would after training
        for weight in model.projector.parameters():
            weight.mul_(20.0)
    folder = root / "clip-micro@32-0123456789ab"
    folder.mkdir()
    save_parts(model, folder, model.parts)
    data = {"world": "conversations", "images": 8}
    write_json(folder / "spec.json", {"spec": {"model": spec.to_json(), "seed": 3, "data": data}})
    return folder


@pytest.fixture
def step(candidate: Path, tmp_path: Path, own_home: Path) -> Callable[..., Context]:
    """An evaluate step of a suite on 8 images with 32 questions; `work` names its work folder."""

    def make(suite: str = "micro", work: str = "work") -> Context:
        data = WorldData(world="test", images=8, seed=3)
        identity = suites.resolve(suite).model_copy(update={"data": data}).identity()
        return Context({"suite": identity}, {"finetune": candidate}, tmp_path / work, own_home)

    return make
