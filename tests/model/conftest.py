"""A tiny random language model in a folder, and models built on it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ablate.catalog import encoders as registry
from ablate.catalog import llms
from ablate.catalog.axes import AXES
from ablate.catalog.model_spec import ModelSpec
from ablate.model.mllm import Mllm, build_model

VOCABULARY = 40


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm") / "tiny"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.3,  # wide, so that greedy choices are clear
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w1", pad_token="w2")
    fast.chat_template = "{% for m in messages %}{{ m.content }} w1 {% endfor %}"
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_model(llm_folder: Path) -> Callable[..., Mllm]:
    """A model of randomly initialised encoders on the tiny language model."""

    def make(
        *titles: str,
        fusion: str = "channel_concat",
        grid: int = 2,
        norm: str = "none",
        seed: int = 0,
        options: Mapping[str, Any] = MappingProxyType({}),
        llm: Path = llm_folder,
        **chosen: Mapping[str, Any],
    ) -> Mllm:
        """`chosen`: on axes, such as `tiling={"name": ...}`."""
        encoders = [registry.resolve(title) for title in titles or ("clip-micro@32",)]
        how = {"name": fusion, "grid": [grid, grid], "options": {**options}}
        axes = {axis: AXES[axis].filled(choice) for axis, choice in chosen.items()}
        spec = ModelSpec(encoders, how, norm, llms.resolve(str(llm)), **axes)
        return build_model(spec, load_weights=False, seed=seed).eval()

    return make
