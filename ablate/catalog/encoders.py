"""Every encoder that has a name: ours, and those other packages offer as entry points.

A package adds encoders with an entry point in the group `ablate.encoders` that names a list of
`EncoderSpec`, and an architecture with one in `ablate.encoder_families` that names an
`ablate.encoders.base.Encoder` class. Nothing here imports torch.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ablate.catalog import micro_encoders as micro
from ablate.catalog import paper_encoders as paper
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.errors import UserError, nearest

__all__ = ["EncoderSpec", "Weights", "from_json", "resolve", "specs"]


@cache
def _known() -> tuple[EncoderSpec, ...]:
    others = (_load(entry) for entry in entry_points(group="ablate.encoders"))
    return (*micro.SPECS, *paper.SPECS, *(spec for listed in others for spec in listed))


def _load(entry: EntryPoint) -> Iterable[EncoderSpec]:
    try:
        listed: Iterable[EncoderSpec] = entry.load()
    except Exception as error:  # whatever another package raises
        said = f"{type(error).__name__}: {error}"
        raise UserError(
            f"the encoders of {entry.value} cannot be loaded: {said}; mend that package, or "
            "uninstall it"
        ) from error
    return listed


def specs() -> list[EncoderSpec]:
    """All named encoders, each at the resolutions it is known for, the default one first."""
    return [micro.with_checksum(spec) for spec in _known()]


def resolve(title: str) -> EncoderSpec:
    """The encoder called `name@resolution`, or `name` for its default resolution.

    Any resolution that fits the encoder's patches will do. Raises UserError for an unknown name or
    a resolution the encoder cannot take, naming the nearest valid ones.
    """
    name, _, resolution = title.partition("@")
    found = {spec.title: spec for spec in _known()}
    spec = found.get(title) or next((s for s in _known() if s.name == name), None)
    if spec is None:
        raise UserError(f"unknown encoder '{title}'{nearest(title, found)}")
    if resolution and title != spec.title:
        if not resolution.isdecimal():
            raise UserError(f"encoder '{title}': a resolution is a number, as in '{spec.title}'")
        spec = spec.at(int(resolution))
    return micro.with_checksum(spec)


def from_json(values: Mapping[str, Any]) -> EncoderSpec:
    """The spec that `EncoderSpec.to_json` wrote."""
    return EncoderSpec.from_json(values)
