"""The language models a study can name. Imports no torch."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.encoders.micro import WEIGHTS
from ablate.errors import UserError, nearest
from ablate.files import sha256_file


@dataclass(frozen=True)
class LlmSpec:
    """A causal language model in Hugging Face's folder format.

    kind: "shipped" (ref: a folder under `ablate/weights`) or "path" (ref: any folder); width: its
    embedding's; context: tokens it can take; sha256: of all that decides its output (weights,
    configuration, tokenizer), None while there are no weights.
    """

    name: str
    kind: str
    ref: str
    width: int
    context: int
    sha256: str | None = None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return WEIGHTS / self.ref if self.kind == "shipped" else Path(self.ref)

    def to_json(self) -> dict[str, Any]:
        """Its fields, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LlmSpec":
        """The inverse of `to_json`; UserError names a field that does not fit."""
        for name in sorted(values.keys() ^ {f.name for f in dataclasses.fields(cls)}):
            raise UserError(f"llm: {'unknown' if name in values else 'missing'} field '{name}'")
        return cls(**values)


SHIPPED = [LlmSpec("llama-micro", "shipped", "micro/llama-micro", width=128, context=1024)]


def specs() -> list[LlmSpec]:
    """The language models that come with the project."""
    return [dataclasses.replace(spec, sha256=checksum(spec.folder)) for spec in SHIPPED]


def resolve(name: str) -> LlmSpec:
    """The language model called `name`: a shipped one, or a folder in Hugging Face's format.

    UserError if there is neither.
    """
    for spec in specs():
        if spec.name == name:
            return spec
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        choices = [spec.name for spec in SHIPPED]
        raise UserError(f"no llm '{name}', by name or as a folder{nearest(name, choices)}")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        width, context = int(config["hidden_size"]), int(config["max_position_embeddings"])
    except KeyError as error:
        raise UserError(f"{folder / 'config.json'} does not say {error}") from None
    return LlmSpec(folder.name, "path", str(folder.absolute()), width, context, checksum(folder))


def from_json(values: Mapping[str, Any]) -> LlmSpec:
    """The spec that `LlmSpec.to_json` wrote."""
    return LlmSpec.from_json(values)


def checksum(folder: Path) -> str | None:
    """One sha256 for all in `folder` that decides the model's output; None without weights."""
    wanted = ("*.safetensors", "config.json", "tokenizer*", "special_tokens_map.json", "*.jinja")
    files = sorted({file for pattern in wanted for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        return None
    listing = "".join(f"{file.name} {sha256_file(file)}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()
