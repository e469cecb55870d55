"""The annotators there are: experts that say in text what they see in an image. A file each in
`ablate/annotators`, or another package's.

Imports no torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from fusion_zoo import Registry

if TYPE_CHECKING:
    from ablate.annotators import Annotator

ANNOTATORS = Registry("annotator", "ablate.annotators", "ablate.annotators", error=UserError)
HUB = "hf"
"""The annotator that any model of transformers may be, written `hf:MODEL`."""
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
        build(choice)
    return {**choice, "template": template, "tokens": tokens}


def annotator_of(output: Mapping[str, Any]) -> dict[str, Any]:
    """What of an output decides what is said, and not how a prompt shows it."""
    return {option: value for option, value in output.items() if option not in _SHOWN}


_SHOWN = ("template", "tokens")


def build(choice: Mapping[str, Any]) -> "Annotator":
    """The annotator, not loaded. UserError for options that it does not take."""
    options = {option: value for option, value in choice.items() if option != "name"}
    annotator: Annotator = ANNOTATORS.build(choice["name"], **options)
    return annotator


def label(choice: Mapping[str, Any]) -> str:
    """An annotator in words: its name, and the options that are not as by default."""
    name = str(choice["name"])
    usual = ANNOTATORS.options(name) if name in ANNOTATORS else {}
    changed = {
        option: value
        for option, value in annotator_of(choice).items()
        if option != "name" and value != usual.get(option)
    }
    model = changed.pop("model", None) if name == HUB else None
    words = [f"{option}={value}" for option, value in changed.items()]
    return " ".join([f"{name}:{model}" if model else name, *words])
