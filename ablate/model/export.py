"""A trained model as one folder in Hugging Face's layout, to hand on and load again elsewhere."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ablate.catalog import encoders
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.llms import LlmSpec
from ablate.config.distribution import installed_version
from ablate.encoders.tensors import load_module, save_module
from ablate.errors import UserError
from ablate.files import read_json, write_atomic, write_json
from ablate.model.mllm import Mllm, ModelSpec, build_model
from ablate.model.parts import parameter_table


def export_model(
    model: Mllm, tokenizer: PreTrainedTokenizerBase, folder: Path, lineage: Mapping[str, Any]
) -> None:
    """Write `model` and its tokenizer into `folder`, which then needs nothing of ours but the code.

    config.json (the model's spec, the language model's configuration as `text_config`),
    model.safetensors, the tokenizer's files, and a README.md that tells the `lineage`: JSON values
    such as the keys of the steps that trained it.
    """
    config = {
        "model_type": "ablate",
        "architectures": ["Mllm"],
        "ablate_version": installed_version(),
        "spec": model.spec.to_json(),
        "text_config": model.llm.config.to_dict(),
    }
    tokenizer.save_pretrained(folder)
    write_json(folder / "llm" / "config.json", model.llm.config.to_dict())
    write_atomic(folder / "README.md", _readme(model, lineage))
    write_json(folder / "config.json", config)
    save_module(model, folder / "model.safetensors")


def load_exported(folder: Path) -> Mllm:
    """The model in a folder that `export_model` wrote; UserError if it is incomplete or damaged."""
    try:
        spec = ModelSpec.from_json(read_json(folder / "config.json")["spec"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} holds no exported model: {error}") from error
    llm = LlmSpec.from_json({**spec.llm.to_json(), "kind": "path", "ref": str(folder / "llm")})
    model = build_model(replace(spec, llm=llm), load_weights=False, seed=0)
    load_module(model, folder / "model.safetensors")
    return model


def _readme(model: Mllm, lineage: Mapping[str, Any]) -> str:
    rows = "".join(f"| {row['part']} | {row['parameters']:,} |\n" for row in parameter_table(model))
    experts = "".join(f"- {_described(spec)}\n" for spec in model.spec.encoders)
    return (
        f"# {' + '.join(spec.title for spec in model.spec.encoders)} on {model.spec.llm.name}\n\n"
        f"Fused by `{model.spec.fusion['name']}` into {model.num_visual_tokens} visual tokens.\n"
        "Load it with `ablate.model.export.load_exported(folder)`.\n\n"
        f"## Encoders\n{experts}\n"
        f"## Parameters\n| part | parameters |\n|---|---|\n{rows}\n"
        f"## Lineage\n```json\n{json.dumps(lineage, indent=1, sort_keys=True)}\n```\n"
    )


def _described(spec: EncoderSpec) -> str:
    """An encoder with what it was trained for, its licence and source, where these are known: a
    step's spec does not hold them, the catalog does."""
    with suppress(UserError):
        spec = encoders.resolve(spec.title)
    known = "; ".join(filter(None, (spec.task, spec.licence, spec.source)))
    return f"`{spec.title}`: {known}" if known else f"`{spec.title}`"
