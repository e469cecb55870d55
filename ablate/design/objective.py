"""What a stage may say of its objective: `sft`, or `{name: length_weighted, power: 0.5}`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from ablate.catalog.objectives import OBJECTIVES
from ablate.errors import UserError

DEFAULT: Mapping[str, Any] = MappingProxyType({"name": "sft"})


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    """With every option of it."""
    options = {**value}
    name = options.pop("name", None)
    try:
        if not isinstance(name, str):
            raise ValueError("its name is missing, as in {name: sft}")
        return {"name": name, **OBJECTIVES.filled(name, options)}
    except ValueError as error:
        raise PydanticCustomError("ours", "{said}", {"said": str(error)}) from None


def require_objective(strategy: str, objective: Mapping[str, Any]) -> None:
    """UserError where processes that share a step in this way cannot train by the objective."""
    name = objective["name"]
    if strategy in ("fsdp", "deepspeed") and OBJECTIVES.says(name, "of_pairs"):
        raise UserError(
            f"strategy '{strategy}' shares out weights, but objective '{name}' holds those of "
            "before the stage whole; choose ddp"
        )


ObjectiveConfig = Annotated[dict[str, Any], BeforeValidator(_named), AfterValidator(_filled)]
"""An objective's name with its options, as they are in a step's spec."""
