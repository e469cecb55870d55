"""A GGUF file as a folder in Hugging Face's format: taken out of its few bits once, in float32."""

from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from ablate.catalog import gguf
from ablate.catalog.llms import LlmSpec
from ablate.data.made import made
from ablate.errors import UserError


def unpack(spec: LlmSpec) -> None:
    """Make `spec.folder` of the file, if it is not there or not as it was made.

    By transformers alone, without a network: weights, configuration, tokenizer, chat template.
    UserError if the file is not here, is another, or cannot be read.
    """
    made(spec.folder, partial(_fill, spec))


def _fill(spec: LlmSpec, folder: Path) -> None:
    file = spec.file
    if file is None:
        raise gguf.missing(spec.name, gguf.package_of(spec.ref))
    if not file.is_file() or gguf.read(file).sha256 != spec.sha256:
        raise UserError(f"llm '{spec.name}': {file} is not the file that was expected")
    where = {"gguf_file": file.name, "local_files_only": True}
    try:
        # A preflight is on another device, without memory.
        with gguf.read_quickly(), torch.device("cpu"):
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
            model, report = AutoModelForCausalLM.from_pretrained(
                file.parent,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **where,
            )
    except Exception as error:  # also of what only an odd file makes fail
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"llm '{spec.name}': cannot read {file}: {reason}") from error
    for name in sorted(report["missing_keys"]):
        raise UserError(f"llm '{spec.name}': tensor '{name}' is missing in {file}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
