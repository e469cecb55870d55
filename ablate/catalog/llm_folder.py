"""What the files of a language model in Hugging Face's format say of it. Imports no torch."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import read_json, sha256_files


def read_config(file: Path) -> Mapping[str, Any]:
    """Its configuration; UserError where that cannot be read."""
    try:
        config = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON: {error}") from None
    return config if isinstance(config, dict) else {}


def size(file: Path, config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number above 0 that its configuration must say, where there is no default."""
    value = config.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{file}: {key} must be a whole number above 0, got {json.dumps(value)}")
    return value


def checksum(folder: Path) -> str | None:
    """One sha256 for all in `folder` that decides the model's output; None without weights."""
    wanted = ("*.safetensors", "config.json", "tokenizer*", "special_tokens_map.json", "*.jinja")
    files = sorted({file for pattern in wanted for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        return None
    return sha256_files(files, folder)


def parameters(folder: Path) -> int:
    """How many numbers its weights hold, by the headers of their files; 0 without weights."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="numpy") as opened:
                shapes = [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read weights {file}: {error}") from error
        total += sum(prod(shape) for shape in shapes)
    return total
