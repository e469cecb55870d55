"""Options of an encoder, written behind its resolution: `clip-l14@336:layer=-2:dense=dci`.

layer=N: its map is what block N gives, counted from 1, or from the end with a minus, without the
closing norm; -2 is LLaVA's layer. The last is the encoder's own map, with what closes it.
dense=sci or dci: the Dense Connector (Yao et al. 2024, section 3.2): maps of earlier blocks are put
behind the own one, three times its channels in all. The article gives the blocks of networks of 24
and 26; ours: the same parts of any other number. Its third variant, STI, makes more tokens of
another grid and is no encoder's map.

Imports no torch.
"""

import dataclasses
from collections.abc import Sequence

from ablate.catalog import timm_encoders
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.errors import UserError, nearest

DENSE = ("dci", "sci")


def dense_groups(blocks: int, dense: str) -> list[list[int]]:
    """After how many blocks (0: before the first) the maps are taken, of which each mean is one.

    sci: after a third and two thirds of them, but one. dci: the two halves of all but the last.
    """
    if dense == "sci":
        return [[blocks // 3 - 1], [2 * blocks // 3 - 1]]
    return [list(range(blocks // 2)), list(range(blocks // 2, blocks))]


def blocks_of(spec: EncoderSpec) -> int:
    """How many blocks of one width and grid it has; 0 where it is no plain transformer."""
    if spec.family.startswith("sam"):  # its neck makes other channels
        return 0
    said = spec.architecture
    written = said.get("num_hidden_layers") or said.get("depth")
    return written or (timm_encoders.blocks(spec) if spec.family == "timm" else 0)


def with_options(spec: EncoderSpec, options: Sequence[str]) -> EncoderSpec:
    """The encoder with options as they are written; UserError for one that it cannot have."""
    chosen = {key: value for key, _, value in (option.partition("=") for option in options)}
    blocks = blocks_of(spec)
    for key in chosen:
        if key not in ("dense", "layer"):
            close = nearest(key, ("dense", "layer"))
            raise UserError(f"encoder '{spec.title}': no option '{key}'{close}")
        if not blocks:
            raise UserError(
                f"encoder '{spec.title}': '{key}' is for plain vision transformers, whose blocks "
                "have one width and grid; leave it out"
            )
    layer = _layer(spec, chosen["layer"], blocks) if "layer" in chosen else None
    dense = chosen.get("dense", "")
    if "dense" in chosen:
        if dense not in DENSE:
            raise UserError(f"encoder '{spec.title}': no dense '{dense}'{nearest(dense, DENSE)}")
        needed = max(number for group in dense_groups(blocks, dense) for number in group)
        if blocks < 3 or needed > (layer or blocks):
            raise UserError(
                f"encoder '{spec.title}': dense={dense} takes maps up to that of block {needed}, "
                f"its own is that of block {layer or blocks}; choose layer={needed} or a later one"
            )
    width = spec.width * (3 if dense else 1)
    return dataclasses.replace(spec, layer=layer, dense=dense, width=width)


def _layer(spec: EncoderSpec, value: str, blocks: int) -> int | None:
    """The block of this number; None for the last, which is the encoder's own."""
    number = int(value) if value.removeprefix("-").isdecimal() else 0
    found = number + blocks + 1 if number < 0 else number
    if not 1 <= found <= blocks:
        raise UserError(
            f"encoder '{spec.title}': layer must be from 1 to {blocks}, or from -{blocks} to -1, "
            f"got '{value}'"
        )
    return None if found == blocks else found
