"""Encoders of the maps that annotators draw: `map:NAME@RES`, `map:NAME:MODEL@RES`.

What an annotator draws is made once, by a step of kind `annotate`; the encoder looks at it in place
of the image's colours, and joins a mixture as any other does. Imports no torch.
"""

from typing import Any

from ablate.catalog import annotators
from ablate.catalog.annotators import ANNOTATORS, MAP
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.errors import UserError

FAMILY = "map"
RESOLUTION, WIDTH = 224, 768
"""Pixels a side at which maps are looked at, and channels that are made of them, where the file of
an annotator sets no other: those of Prismer's base model."""
PATCH = 16
"""Pixels a position of the stem, whose strides are fixed."""


def resolve(title: str) -> EncoderSpec:
    """The encoder of this title. UserError for an annotator that is not there or draws no map, and
    for a resolution that its patches do not divide."""
    called, _, size = title.removeprefix(MAP).partition("@")
    if size and not size.isdecimal():
        raise UserError(f"encoder '{title}': a resolution is a number, as in '{MAP}{called}@224'")
    name, _, model = called.partition(":")
    choice = {"name": name, **ANNOTATORS.filled(name, {"model": model} if model else {})}
    with ANNOTATORS.blame(name, "be built"):
        annotator = annotators.drawer(choice)
    spec = EncoderSpec(
        name=f"{MAP}{called}",
        family=FAMILY,
        resolution=ANNOTATORS.constant(name, "RESOLUTION", RESOLUTION),
        patch=PATCH,
        width=ANNOTATORS.constant(name, "WIDTH", WIDTH),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        architecture={"annotator": choice, "channels": annotator.channels},
        weights=Weights("none"),
        task="a map: " + ANNOTATORS.describe(name),
        source="random",
    )
    return spec.at(int(size)) if size else spec


def drawn_by(spec: EncoderSpec) -> dict[str, Any] | None:
    """The annotator whose maps an encoder looks at; None of one that looks at images."""
    return dict(spec.architecture["annotator"]) if spec.family == FAMILY else None
