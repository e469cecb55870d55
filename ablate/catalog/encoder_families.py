"""The encoder families there are: ours by name, and those of other packages. Imports no torch."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from ablate.errors import UserError, nearest

FAMILIES = {
    "clip": "clip:ClipEncoder",
    "clip_aligned": "clip:ClipAlignedEncoder",
    "convnext": "convnext:ConvNextEncoder",
    "dinov2": "dinov2:Dinov2Encoder",
    "eva02": "eva02:Eva02Encoder",
    "eva02_det": "eva02_det:Eva02DetEncoder",
    "eva02_det_aligned": "eva02_det:Eva02DetAlignedEncoder",
    "internvit": "internvit:InternVitEncoder",
    "pix2struct": "pix2struct:Pix2StructEncoder",
    "sam": "sam:SamEncoder",
    "sam_short": "sam:SamShortEncoder",
    "siglip": "siglip:SiglipEncoder",
}
"""The file in `ablate.encoders` and the class of each of our families."""

REVISIONS: Mapping[str, int] = MappingProxyType({})
"""Which revision a family of ours is at, where it is not the first.

Raised by a change that makes other features of the same pixels and weights, or other random
weights: what was trained with an earlier one is then trained anew.
"""


def plug_in(family: str) -> EntryPoint | None:
    """What another package offers as this family in `ablate.encoder_families`; None for ours.

    Raises UserError for an unknown family, naming the nearest.
    """
    if family in FAMILIES:
        return None
    others = {entry.name: entry for entry in entry_points(group="ablate.encoder_families")}
    if family not in others:
        raise UserError(f"unknown encoder family '{family}'{nearest(family, {*FAMILIES, *others})}")
    return others[family]
