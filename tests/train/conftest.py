"""Training steps on a tiny random language model and untrained encoders."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toys import STAGE, Context, Make
from transformers import LlamaConfig, LlamaForCausalLM

from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog import encoders as registry
from ablate.catalog import llms
from ablate.catalog.axes import INJECTION
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.encoder_spec import Weights
from ablate.catalog.model_spec import ModelSpec


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm") / "tiny"
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        attention_dropout=0.1,  # so that random numbers matter
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all tests of training, so that data is drawn once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def make_context(tmp_path: Path, shared_home: Path, llm_folder: Path) -> Make:
    """Contexts of a stage on 12 drawn images; keywords change fields of the stage."""

    def make(
        name: str = "step",
        kind: str = "finetune",
        *,
        encoders: tuple[str, ...] = ("clip-micro@32",),
        data: dict[str, Any] | None = None,
        seed: int = 3,
        parents: dict[str, Path] | None = None,
        infra: dict[str, Any] | None = None,
        device: str = "cpu",
        injection: dict[str, Any] | None = None,
        **stage: Any,
    ) -> Context:
        untrained = [replace(registry.resolve(e), weights=Weights("none")) for e in encoders]
        fusion = {"name": "channel_concat", "grid": [2, 2], "options": {}}
        chosen = {"injection": INJECTION.filled(injection)} if injection else {}
        model = ModelSpec(untrained, fusion, "layer", llms.resolve(str(llm_folder)), **chosen)
        source = data or {"world": "conversations", "images": 12, "seed": 1}
        spec = {
            "model": model.to_json(),
            "stage": {**STAGE, **stage},
            "data": {**source, "fingerprint": fingerprint(source)},
            "seed": seed,
        }
        work = tmp_path / name
        work.mkdir(exist_ok=True)
        return Context(kind, spec, work, shared_home, parents or {}, infra or {}, device)

    return make


@pytest.fixture
def llm_without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Language models whose attention draws no random numbers."""
    from transformers.models.llama.modeling_llama import LlamaAttention

    init = LlamaAttention.__init__

    def plain(self: LlamaAttention, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        self.attention_dropout = 0.0

    monkeypatch.setattr(LlamaAttention, "__init__", plain)
