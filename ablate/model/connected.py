"""Tiling and connector of a mixture: what an image is cut into, and how it becomes tokens."""

from ablate.catalog.model_spec import ModelSpec
from ablate.data.tiles import Tiles
from ablate.errors import UserError
from fusion_zoo import Fusion
from fusion_zoo.connectors import CONNECTORS, Connector
from fusion_zoo.tilings import Tiling, hold_marks, tiling_of


def build_tiling(spec: ModelSpec) -> Tiling:
    """The tiling of `spec`; UserError where its options make no sense."""
    try:
        return tiling_of(spec.tiling, spec.encoders[0].resolution)
    except ValueError as error:
        raise UserError(f"tiling '{spec.tiling['name']}': {error}") from error


def build_connector(spec: ModelSpec, fusion: Fusion) -> Connector:
    """The connector of `spec` behind a fusion and a tiling, whose own tokens it holds.

    UserError where one cannot take what that before it gives.
    """
    tiling, width = build_tiling(spec), spec.llm.width
    options = {**spec.connector}
    name = options.pop("name")
    try:
        segments = tiling.segments(fusion.segments, fusion.grids)
    except ValueError as error:
        raise UserError(f"tiling '{spec.tiling['name']}': {error}") from error
    try:
        connector: Connector = CONNECTORS.build(name, segments, fusion.grids, width, **options)
    except ValueError as error:
        raise UserError(f"connector '{name}': {error}") from error
    hold_marks(connector, tiling, width)
    return connector


def too_long(spec: ModelSpec, tiles: Tiles, tokens: int) -> UserError:
    """The error of a sequence of so many tokens, which the language model cannot take."""
    llm, titles = spec.llm, ", ".join(encoder.title for encoder in spec.encoders)
    cut, fewer = f" in tiles ({spec.tiling['name']})" * tiles.cuts, "fewer tiles, " * tiles.cuts
    return UserError(
        f"{tokens} tokens exceed the context of {llm.name} ({llm.context}): {spec.fusion['name']} "
        f"of {titles}{cut} makes {'up to ' * tiles.cuts}{tiles.most} tokens of an image; take "
        f"{fewer}a smaller grid, fewer encoders, a connector of fewer tokens or shorter "
        "conversations"
    )
