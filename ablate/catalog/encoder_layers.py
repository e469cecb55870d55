"""Options of an encoder, written behind its resolution: `clip-l14@336:layer=-2:dense=dci`.

layer=N: its map is what block N gives, counted from 1, or from the end with a minus, without the
closing norm; -2 is LLaVA's layer. The last is the encoder's own map, with what closes it.
dense=sci, dci or sti: the Dense Connector (Yao et al. 2024, section 3.2). With sci and dci maps of
earlier blocks are put behind the own one, three times its channels in all; with sti they are two
further maps, each value the mean of eight neighbours in a row, for a fusion such as `expert_grids`.
The article gives the blocks of networks of 24 and 26; ours: the same parts of any other number.

Imports no torch.
"""

import dataclasses
from collections.abc import Sequence

from ablate.catalog import timm_encoders
from ablate.catalog.encoder_spec import STRIP, EncoderSpec
from ablate.errors import UserError, nearest

DENSE = ("dci", "sci", "sti")


def dense_groups(blocks: int, dense: str) -> list[list[int]]:
    """After how many blocks (0: before the first) the maps are taken, of which each mean is one.

    sci, sti: after a third and two thirds of them, less one. dci: the halves of all but the last.
    """
    if dense == "dci":
        return [list(range(blocks // 2)), list(range(blocks // 2, blocks))]
    return [[blocks // 3 - 1], [2 * blocks // 3 - 1]]


def blocks_of(spec: EncoderSpec) -> int:
    """How many blocks of one width and grid it has; 0 where it is no plain transformer."""
    if spec.family.startswith("sam") or "hidden_sizes" in spec.architecture:
        return 0  # a neck makes other channels, stages have several
    architecture = spec.architecture
    written = architecture.get("num_hidden_layers") or architecture.get("depth")
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
        if dense == "sti" and (spec.unshuffle > 1 or spec.grid[1] % STRIP):
            raise UserError(
                f"encoder '{spec.title}': dense=sti takes means of {STRIP} cells in a row, of a "
                f"map of {spec.grid[1]} columns; choose a resolution that gives a multiple of it"
            )
    width = spec.width * (3 if dense in ("dci", "sci") else 1)
    return dataclasses.replace(spec, layer=layer, dense=dense, width=width)


def _layer(spec: EncoderSpec, value: str, blocks: int) -> int | None:
    """The block of this number; None for the last, which is the encoder's own."""
    number = int(value) if value.removeprefix("-").isdecimal() else 0
    counted = number + blocks + 1 if number < 0 else number
    if not 1 <= counted <= blocks:
        raise UserError(
            f"encoder '{spec.title}': layer must be from 1 to {blocks}, or from -{blocks} to -1, "
            f"got '{value}'"
        )
    return None if counted == blocks else counted
