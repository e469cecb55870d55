"""Multiply-adds as figure 4 of the Eagle paper (arXiv 2408.15998) counts them; it does not say how.

All its eleven mixtures come out within half a per cent by one rule: what a counter sees that hooks
modules. It counts the multiply-adds of linear and convolution layers, SAM's windows filled up; not
the products of attention (queries with keys, weights with values), and not EVA-02's queries, keys
and values, which its own code computes by `F.linear`. And CLIP, in a mixture, sees 336 pixels, as
the released code has its "448". True FLOPs are `cost.encoders.flops`, at 2 for a multiply-add.
"""

import dataclasses
from collections.abc import Sequence

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.cost.encoders import layers, parameters
from ablate.design import encoder_spec
from ablate.errors import UserError

RULE = (
    "multiply-adds of linear and convolution layers as a counter that hooks modules sees them, the "
    "rule by which all mixtures of figure 4 come out: without the products of attention, and "
    "without EVA-02's queries, keys and values; in a mixture CLIP at 336 pixels, as released"
)

RELEASED = {"clip-l14@448": "clip-l14-eagle@336"}
"""What of a mixture the released code has at another resolution."""


def vision_parameters(encoders: Sequence[str]) -> int | None:
    """Of the encoders of these titles; None where the layers of one are not known."""
    specs = _known(encoders)
    return None if specs is None else sum(map(parameters, specs))


def multiply_adds(encoders: Sequence[str]) -> int | None:
    """Of these encoders (titles) with one image; None where the layers of one are not known."""
    titles = [RELEASED.get(title, title) for title in encoders] if len(encoders) > 1 else encoders
    specs = _known(titles)
    return None if specs is None else sum(map(_counted, specs))


def _known(titles: Sequence[str]) -> list[EncoderSpec] | None:
    """The specs, if all are known here and so are the layers of each."""
    try:
        specs = [encoder_spec(title) for title in titles]
    except UserError:
        return None
    return specs if all(layers(spec) is not None for spec in specs) else None


def _counted(spec: EncoderSpec) -> int:
    untiled = dataclasses.replace(spec, resolution=spec.tile or spec.resolution, tile=None)
    seen = sum(layer.flops for layer in layers(untiled) or () if layer.outputs) // 2
    if spec.family.startswith("eva02"):
        rows, columns = spec.patches(spec.resolution, spec.resolution)
        a = spec.architecture
        seen -= 3 * a["depth"] * rows * columns * a["embed_dim"] ** 2
    tiles = (spec.resolution // spec.tile) ** 2 if spec.tile else 1
    return tiles * seen
