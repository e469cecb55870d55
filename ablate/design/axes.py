"""What a design may say of an axis: a word such as `qformer`, or `{name: qformer, queries: 64}`."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from ablate.catalog.axes import CONNECTOR, INJECTION, TILING, Axis


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _filled(axis: Axis) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """With every option of it."""

    def filled(value: dict[str, Any]) -> dict[str, Any]:
        try:
            return axis.filled(value)
        except ValueError as error:
            raise PydanticCustomError("ours", "{said}", {"said": str(error)}) from None

    return filled


_WORD = BeforeValidator(_named)
ConnectorConfig = Annotated[dict[str, Any], _WORD, AfterValidator(_filled(CONNECTOR))]
TilingConfig = Annotated[dict[str, Any], _WORD, AfterValidator(_filled(TILING))]
InjectionConfig = Annotated[dict[str, Any], _WORD, AfterValidator(_filled(INJECTION))]
"""The name of a component of the axis with its options, as they are in a step's spec."""
