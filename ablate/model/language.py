"""Any Hugging Face causal language model and its tokenizer, from a folder or a GGUF file."""

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

from ablate.catalog import weights as hub
from ablate.catalog.llm_folder import checksum
from ablate.catalog.llms import LlmSpec
from ablate.errors import UserError
from ablate.model.gguf import unpack


def load_llm(spec: LlmSpec, *, attn: str = "sdpa", load_weights: bool = True) -> PreTrainedModel:
    """The language model in float32; load_weights=False gives random ones.

    A published model needs no files for random weights. Raises UserError if there is no such model,
    or if its files are damaged, incomplete, pickles, or another model's.
    """
    if load_weights:
        _check_weights(spec)
        model, report = _load(
            AutoModelForCausalLM,
            spec,
            attn_implementation=attn,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
        for name in sorted(report["missing_keys"]):
            raise UserError(f"llm '{spec.name}' ({spec.folder}): tensor '{name}' is missing")
    else:
        here = not spec.config or (spec.folder / "config.json").is_file()
        config = _load(AutoConfig, spec) if here else AutoConfig.for_model(**spec.config)
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=attn, dtype=torch.float32
        )
    width = model.get_input_embeddings().embedding_dim
    if width != spec.width:
        raise UserError(f"llm '{spec.name}' ({spec.folder}) has width {width}, not {spec.width}")
    # Published sampling settings and penalties must not change what greedy decoding means.
    model.generation_config = GenerationConfig()
    return model


def load_tokenizer(spec: LlmSpec) -> PreTrainedTokenizerBase:
    """The tokenizer, whose chat template decides the prompt; UserError as for the model."""
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, spec)
    if spec.template is not None:
        tokenizer.chat_template = spec.template
    return tokenizer


def _check_weights(spec: LlmSpec) -> None:
    """UserError if the folder's weights are pickles only, or not those the spec was made for."""
    if spec.is_gguf:
        return  # its folder is ours, and held to be whole
    folder = spec.folder
    pickles = sorted(folder.glob("*.bin.index.json")) or sorted(folder.glob("*.bin"))
    if pickles and not any(folder.glob("*.safetensors")):
        raise hub.unconverted(f"llm '{spec.name}'", pickles[0])
    if spec.sha256 and checksum(folder) != spec.sha256:
        raise UserError(f"llm '{spec.name}': the files in {folder} are not those expected")


def _load(auto: Any, spec: LlmSpec, **options: Any) -> Any:
    if spec.is_gguf:
        unpack(spec)
    folder = spec.folder
    if not (folder / "config.json").is_file():
        if spec.kind == "published":
            raise hub.missing(f"llm '{spec.name}'", spec.ref, "config.json")
        remedy = "; `ablate bake` makes it" if spec.kind == "shipped" else ""
        raise UserError(f"llm '{spec.name}': nothing at {folder}{remedy}")
    try:
        return auto.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"llm '{spec.name}': cannot read {folder}: {first}") from error
