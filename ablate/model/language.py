"""Any Hugging Face causal language model and its tokenizer, from a folder."""

from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ablate.errors import UserError
from ablate.model.llms import LlmSpec, checksum


def load_llm(spec: LlmSpec, *, attn: str = "sdpa", load_weights: bool = True) -> PreTrainedModel:
    """The language model in float32; load_weights=False gives random ones.

    Raises UserError if there is none, or if its files are damaged, incomplete, or another model's.
    """
    config = _load(AutoConfig, spec)
    if load_weights:
        if spec.sha256 and checksum(spec.folder) != spec.sha256:
            raise UserError(f"llm '{spec.name}': the files in {spec.folder} are not those expected")
        model, report = _load(
            AutoModelForCausalLM,
            spec,
            config=config,
            attn_implementation=attn,
            dtype=torch.float32,
            output_loading_info=True,
        )
        for name in sorted(report["missing_keys"]):
            raise UserError(f"llm '{spec.name}' ({spec.folder}): tensor '{name}' is missing")
    else:
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attn)
    width = model.get_input_embeddings().embedding_dim
    if width != spec.width:
        raise UserError(f"llm '{spec.name}' ({spec.folder}) has width {width}, not {spec.width}")
    # Published sampling settings and penalties must not change what greedy decoding means.
    model.generation_config = GenerationConfig()
    return model


def load_tokenizer(spec: LlmSpec) -> PreTrainedTokenizerBase:
    """The tokenizer, whose chat template decides the prompt; UserError as for the model."""
    return _load(AutoTokenizer, spec)


def _load(auto: Any, spec: LlmSpec, **options: Any) -> Any:
    if not (spec.folder / "config.json").is_file():
        remedy = "; `ablate bake` makes it" if spec.kind == "shipped" else ""
        raise UserError(f"llm '{spec.name}': nothing at {spec.folder}{remedy}")
    try:
        return auto.from_pretrained(spec.folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"llm '{spec.name}': cannot read {spec.folder}: {first}") from error
