"""Tiling and connector of a mixture: what an image is cut into, and how it becomes tokens."""

from ablate.catalog.model_spec import ModelSpec
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
