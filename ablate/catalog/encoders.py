"""Every encoder that has a name: ours, those other packages offer as entry points, all of timm.

A package adds encoders with an entry point in the group `ablate.encoders` that names a list of
`EncoderSpec`, and an architecture with one in `ablate.encoder_families` that names an
`ablate.encoders.base.Encoder` class. Nothing here imports torch; a module with specs should not,
either, for what only names an encoder imports it, too. So does a family of ours that has its
`SPECS` in the file of its class: quick to try out, and to be moved to `paper_encoders` later.
"""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ablate.catalog import encoder_families as families
from ablate.catalog import encoder_layers, hub_encoders, map_encoders, timm_encoders
from ablate.catalog import micro_encoders as micro
from ablate.catalog import paper_encoders as paper
from ablate.catalog import recent_encoders as recent
from ablate.catalog import small_encoders as small
from ablate.catalog.annotators import MAP
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.errors import UserError, nearest

__all__ = ["EncoderSpec", "Weights", "matching", "resolve", "specs"]


OURS = (*micro.SPECS, *small.SPECS, *paper.SPECS, *recent.SPECS)


@cache
def _known() -> tuple[EncoderSpec, ...]:
    """Ours, then those beside their families' classes and in other packages, which this imports."""
    entries = (*families.own_specs(), *entry_points(group="ablate.encoders"))
    others = (_load(entry) for entry in entries)
    return (*OURS, *(spec for listed in others for spec in listed))


def _named(title: str) -> EncoderSpec | None:
    """The encoder of this title or name; other packages are asked for what is none of ours."""
    name = title.partition("@")[0]
    known = OURS if any(spec.name == name for spec in OURS) else _known()
    exact = (spec for spec in known if spec.title == title)
    return next(exact, None) or next((spec for spec in known if spec.name == name), None)


def _load(entry: EntryPoint) -> Iterable[EncoderSpec]:
    try:
        listed: Iterable[EncoderSpec] = entry.load()
    except Exception as error:  # whatever another package raises
        message = f"{type(error).__name__}: {error}"
        raise UserError(
            f"the encoders of {entry.value} cannot be loaded: {message}; mend that package, or "
            "uninstall it"
        ) from error
    return listed


def specs() -> list[EncoderSpec]:
    """All named encoders, each at the resolutions it is known for, the default one first."""
    return [micro.with_checksum(spec) for spec in _known()]


def matching(word: str) -> list[EncoderSpec]:
    """All named encoders and all of timm in whose title or pretraining the word stands."""
    timm = (timm_encoders.resolve(name) for name in timm_encoders.names())
    return [
        spec
        for spec in (*specs(), *timm)
        if word.lower() in f"{spec.title} {spec.task} {spec.source}".lower()
    ]


def resolve(title: str) -> EncoderSpec:
    """The encoder called `name@resolution`, or `name` for its default resolution.

    Any resolution that fits the encoder's patches will do; behind it may stand `:layer=N` and
    `:dense=HOW` (see `encoder_layers`). Raises UserError for an unknown name or a resolution the
    encoder cannot take, naming the nearest valid ones.
    """
    name, at, rest = title.rpartition("@") if "@" in title else (title, "", "")
    resolution, *options = rest.split(":")
    plain = f"{name}{at}{resolution}"
    if plain.startswith(timm_encoders.PREFIX):
        spec = timm_encoders.resolve(plain)
    elif plain.startswith(hub_encoders.PREFIX):
        spec = hub_encoders.resolve(plain)
    elif plain.startswith(MAP):
        spec = map_encoders.resolve(plain)
    else:
        spec = _resolved(plain)
    return encoder_layers.with_options(spec, options) if options else spec


def _resolved(title: str) -> EncoderSpec:
    """One of ours or of another package."""
    resolution = title.partition("@")[2]
    spec = _named(title)
    if spec is None:
        known = (spec.title for spec in _known())
        raise UserError(f"unknown encoder '{title}'{nearest(title, known)}")
    if resolution and title != spec.title:
        if not resolution.isdecimal():
            raise UserError(f"encoder '{title}': a resolution is a number, as in '{spec.title}'")
        spec = spec.at(int(resolution))
    return micro.with_checksum(spec)
