"""The annotators there are: experts that say in text, or draw as a map, what they see in an image.
A file each in `ablate/annotators`, or another package's.

Imports no torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ablate.errors import UserError
from fusion_zoo import Registry

if TYPE_CHECKING:
    from ablate.annotators import Annotator, MapAnnotator, Observer

ANNOTATORS = Registry("annotator", "ablate.annotators", "ablate.annotators", error=UserError)
HUB = "hf"
"""The annotator that any model of transformers may be, written `hf:MODEL`."""
HUBS = (HUB, "hf_depth")
"""Those of ours that are a model of a repository, by their option `model`."""
MAP = "map:"
"""How an encoder is called that looks at the maps of an annotator: `map:NAME`."""
TEXT = "{text}"
"""Where in a template stands what an annotator says."""
TOKENS = 64
"""The most tokens of a prompt that are an annotator's, where its file sets no `TOKENS`."""


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """An output as a study writes it, with all there is to say of it: `name`, the annotator's
    options, the `template` around what it says, and the most `tokens` of a prompt it may take.

    UserError for an unknown name or option, with the nearest one.
    """
    options = dict(given)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError("its name is missing, as in {name: micro_ocr}")
    if name.startswith(f"{HUB}:"):
        name, options["model"] = HUB, name.removeprefix(f"{HUB}:")
    ANNOTATORS.entry(name)
    template = options.pop("template", ANNOTATORS.constant(name, "TEMPLATE", TEXT))
    tokens = options.pop("tokens", ANNOTATORS.constant(name, "TOKENS", TOKENS))
    if not isinstance(template, str) or TEXT not in template:
        raise UserError(f"a template is a text with {TEXT} in it, got {template!r}")
    if type(tokens) is not int or tokens < 1:
        raise UserError(f"tokens is a whole number above 0, got {tokens!r}")
    choice = {"name": name, **ANNOTATORS.filled(name, options)}
    with ANNOTATORS.blame(name, "be built"):
        speaker(choice)
    return {**choice, "template": template, "tokens": tokens}


def annotator_of(output: Mapping[str, Any]) -> dict[str, Any]:
    """What of an output decides what is said, and not how a prompt shows it."""
    return {option: value for option, value in output.items() if option not in _SHOWN}


_SHOWN = ("template", "tokens")


def build(choice: Mapping[str, Any]) -> "Observer":
    """The annotator, not loaded. UserError for options that it does not take."""
    options = {option: value for option, value in choice.items() if option != "name"}
    annotator: Observer = ANNOTATORS.build(choice["name"], **options)
    return annotator


def speaker(choice: Mapping[str, Any]) -> "Annotator":
    """One that says a text, not loaded. UserError for another."""
    annotator = build(choice)
    if annotator.channels:
        raise UserError(
            f"{label(choice)} says nothing, it draws maps: name it among the encoders, as "
            f"{MAP}{choice['name']}"
        )
    return cast("Annotator", annotator)


def drawer(choice: Mapping[str, Any]) -> "MapAnnotator":
    """One that draws maps, not loaded. UserError for another."""
    annotator = build(choice)
    if not annotator.channels:
        raise UserError(f"{label(choice)} draws no map, it says a text: name it in `outputs`")
    return cast("MapAnnotator", annotator)


def label(choice: Mapping[str, Any]) -> str:
    """An annotator in words: its name, and the options that are not as by default."""
    name = str(choice["name"])
    usual = ANNOTATORS.options(name) if name in ANNOTATORS else {}
    changed = {
        option: value
        for option, value in annotator_of(choice).items()
        if option != "name" and value != usual.get(option)
    }
    model = changed.pop("model", None) if name in HUBS else None
    words = [f"{option}={value}" for option, value in changed.items()]
    return " ".join([f"{name}:{model}" if model else name, *words])
