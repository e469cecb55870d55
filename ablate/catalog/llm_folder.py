"""The weights of a language model in a folder in Hugging Face's format. Imports no torch."""

from math import prod
from pathlib import Path

from ablate.errors import UserError
from ablate.files import sha256_files


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
