"""A trained model as a folder in Hugging Face's layout, which stands without this package.

AutoProcessor.from_pretrained(DIR, trust_remote_code=True)
AutoModelForImageTextToText.from_pretrained(DIR, trust_remote_code=True)

config.json, model*.safetensors, generation_config.json
tokenizer*.json, processor_config.json, chat_template.jinja
modeling_ablate.py, configuration_ablate.py, processing_ablate.py, and what these use of ours
README.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

import fusion_zoo
from ablate.catalog import annotators
from ablate.catalog.axes import AXES, TILING
from ablate.catalog.encoder_families import FAMILIES
from ablate.catalog.model_spec import ModelSpec
from ablate.config.distribution import installed_version
from ablate.data.chat import Chat
from ablate.data.conversations import IMAGE
from ablate.data.images import Colour
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.model.export.bundle import Bundle
from ablate.model.export.configuration_ablate import AblateConfig
from ablate.model.export.modeling_ablate import AblateForConditionalGeneration, store_buffers
from ablate.model.export.processing_ablate import AblateProcessor
from ablate.model.export.template import for_processors
from ablate.model.mixture import COLOURS
from ablate.model.mllm import Mllm
from fusion_zoo import FUSIONS, Registry, _interface, locate
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS
from fusion_zoo.tilings import TILINGS

OURS = ("ablate", "fusion_zoo")
CODE = ("configuration_ablate", "modeling_ablate", "processing_ablate")
AUTO_MODEL = {
    "AutoConfig": "configuration_ablate.AblateConfig",
    "AutoModelForImageTextToText": "modeling_ablate.AblateForConditionalGeneration",
}
AUTO_PROCESSOR = {"AutoProcessor": "processing_ablate.AblateProcessor"}
"""Where transformers' own classes find ours in a folder."""
SHARD = "5GB"
MAX_NEW_TOKENS = 1024
NO_QUESTION = "the code of an exported model looks at images before it reads; it cannot be exported"


@dataclass(frozen=True)
class Speech:
    """How a model is spoken to: its tokenizer, the tokens that end an answer, how images are
    brought to one size (see `as_array`), and `outputs`, as its processor has them."""

    tokenizer: PreTrainedTokenizerBase
    stop_ids: list[int]
    canvas: int | None
    padding: Colour
    outputs: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        canvas: int | None,
        padding: Colour,
        outputs: Sequence[Mapping[str, Any]] = (),
    ) -> "Speech":
        """What the tokenizer and its template say; `outputs` as in a step's spec."""
        chat = Chat(tokenizer)
        ours = chat.tokenizer
        ours.chat_template = for_processors(tokenizer.get_chat_template(), chat.blank)
        ours.pad_token = ours.pad_token or ours.eos_token
        ours.padding_side = ours.init_kwargs["padding_side"] = "left"  # the latter is saved
        shown = [
            {
                "annotator": annotators.label(output["annotator"]),
                "template": output["template"],
                "tokens": output["tokens"],
            }
            for output in outputs
        ]
        return cls(ours, chat.stop_ids, canvas, padding, shown)


def export_model(model: Mllm, speech: Speech, folder: Path, card: str) -> None:
    """Write `model` into `folder`, with the `card` as its README.md.

    UserError for a model that is more than the exported code does.
    """
    require_exportable(model)
    config = configuration(model, speech)
    config.auto_map = AUTO_MODEL
    with torch.device("meta"):
        whole = AblateForConditionalGeneration(config)
    store_buffers(model.mixture)
    whole.load_state_dict(model.state_dict(), assign=True)
    whole.generation_config = generation_config(model, speech)
    whole.save_pretrained(folder, max_shard_size=SHARD)
    read = processor(model, speech)
    read.auto_map = AUTO_PROCESSOR
    read.save_pretrained(folder)
    for name, text in code(model.spec).items():
        write_atomic(folder / name, text)
    write_atomic(folder / "README.md", card)


def configuration(model: Mllm, speech: Speech) -> AblateConfig:
    """What the exported class is built from."""
    return AblateConfig(
        **{name: model.spec.to_json()[name] for name in ("encoders", "fusion", "feature_norm")},
        **{axis: getattr(model.spec, axis) for axis in AXES},
        text_config=model.llm.config,
        image_token_id=speech.tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=model.num_visual_tokens,
        ablate_version=installed_version(),
    )


def processor(model: Mllm, speech: Speech) -> AblateProcessor:
    """What makes of conversations and images what the exported class takes."""
    tiles = {
        "choice": model.spec.tiling,
        "side": model.spec.encoders[0].resolution,
        "tokens": model.tiles.tokens,
        "grid": model.tiles.grid,
        "runs": model.tiles.runs,
    }
    return AblateProcessor(
        speech.tokenizer,
        tiles,
        speech.canvas,
        speech.padding,
        speech.outputs,
        chat_template=speech.tokenizer.chat_template,
    )


def require_exportable(model: Mllm) -> None:
    """UserError unless the exported code does all that this model does."""
    spec = model.spec
    fusion, connector = spec.fusion["name"], spec.connector["name"]
    if model.names_experts:
        raise UserError(f"its fusion {fusion} has the language model name experts: {NO_QUESTION}")
    if model.mixture.fusion.asks_instruction:
        raise UserError(f"its fusion {fusion} asks for the question: {NO_QUESTION}")
    if model.projector.asks_instruction:
        raise UserError(f"its connector {connector} asks for the question: {NO_QUESTION}")
    if model.mixture.num_channels > COLOURS:
        raise UserError(
            "its encoders look at maps that an annotator draws, which is not in an exported model"
        )
    named = [(FAMILIES, encoder.family) for encoder in spec.encoders] + [(FUSIONS, fusion)]
    named += [(axis.registry, getattr(spec, name)["name"]) for name, axis in AXES.items()]
    entries = [registry.plug_in(name) for registry, name in named if name in registry]
    for entry in filter(None, entries):
        package = entry.dist.name if entry.dist else entry.module
        raise UserError(
            f"{entry.name} is of the package {package}: only what is made of our own parts can be "
            "exported, as their source goes into the folder"
        )


def generation_config(model: Mllm, speech: Speech) -> GenerationConfig:
    """Greedy, up to what ends a turn."""
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=min(MAX_NEW_TOKENS, model.spec.llm.context // 2),
        eos_token_id=speech.stop_ids,
        pad_token_id=speech.tokenizer.pad_token_id,
    )


def code(spec: ModelSpec) -> dict[str, str]:
    """The files of Python that a model of this spec needs, by name."""
    families = {encoder.family: FAMILIES.entry(encoder.family) for encoder in spec.encoders}
    modules = {
        "ablate.encoders.build": _families(families),
        "fusion_zoo": _fusion(FUSIONS.entry(spec.fusion["name"])),
        "fusion_zoo.connectors": _component(CONNECTORS, spec.connector["name"], "Connector"),
        "fusion_zoo.injections": _component(INJECTIONS, spec.injection["name"], "Injection"),
        "fusion_zoo.tilings": _tiling(spec.tiling["name"]),
    }
    bundle = Bundle(OURS, modules)
    for name in CODE:
        bundle.add(f"ablate.model.export.{name}")
    return bundle.files(f"Written by ablate {installed_version()}, as far as this model needs it.")


def _families(entries: Mapping[str, EntryPoint]) -> str:
    """In place of `ablate.encoders.build`: the families of one model."""
    imports = {f"from {entry.module} import {entry.attr}\n" for entry in entries.values()}
    known = "".join(f'    "{name}": {entry.attr},\n' for name, entry in entries.items())
    return f'''"""The families of encoders of this model."""

from ablate.encoders.base import Encoder
{"".join(sorted(imports))}
FAMILIES: dict[str, type[Encoder]] = {{
{known}}}


def family_class(family: str) -> type[Encoder]:
    """The class of a family."""
    return FAMILIES[family]
'''


def _fusion(entry: EntryPoint) -> str:
    """In place of `fusion_zoo`: its one fusion."""
    shared = ", ".join(name for name in fusion_zoo.__all__ if hasattr(_interface, name))
    language = "llm, " if fusion_zoo.takes_llm(entry.name) else ""
    return f'''"""The fusion of this model."""

from collections.abc import Sequence
from typing import Any

from {entry.module} import {entry.attr}
from fusion_zoo._interface import {shared}


def build(
    name: str,
    shapes: Sequence[MapShape],
    grid: tuple[int, int],
    llm: LanguageShape | None = None,
    /,
    **given: Any,
) -> Fusion:
    """The fusion of maps of these shapes (the base's first) into tokens on an (H, W) grid."""
    return {entry.attr}(shapes, grid, {language}**given)
'''


def _component(registry: Registry, name: str, kind: str) -> str:
    """In place of a package of components of a kind: a registry of the one that a model has."""
    entry = registry.entry(name)
    return f'''"""The {registry.noun} of this model."""

from typing import Any

from {entry.module} import {entry.attr}
{_shared(registry.room)}

class {registry.noun.upper()}S:
    """What there is to choose from."""

    @staticmethod
    def build(name: str, *given: Any, **options: Any) -> {kind}:
        """One of them."""
        return {{"{name}": {entry.attr}}}[name](*given, **options)
'''


def _tiling(name: str) -> str:
    """In place of `fusion_zoo.tilings`: its one tiling."""
    module, made = "fusion_zoo.tilings._interface", "Whole"
    if name != TILING.default["name"]:
        entry = TILINGS.entry(name)
        module, made = entry.module, entry.attr
    return f'''"""How this model looks at images."""

from collections.abc import Mapping
from typing import Any

from {module} import {made}
{_shared(TILINGS.room)}

def tiling_of(choice: Mapping[str, Any], side: int) -> Tiling:
    """The tiling with these options; `side` of its views."""
    options = {{option: value for option, value in choice.items() if option != "name"}}
    return {made}(side, **options)
'''


def _shared(package: str) -> str:
    """Imports of what a package offers its components, a line for each file that has it."""
    every, lines = import_module(package).__all__, []
    for module in (f"{package}._views", f"{package}._interface"):
        if locate(module):
            here = import_module(module)
            names = ", ".join(name for name in every if hasattr(here, name))
            lines.append(f"from {module} import {names}\n")
    return "".join(lines)
