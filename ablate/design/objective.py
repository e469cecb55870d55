"""What a stage may say of its objective: `sft`, or `{name: length_weighted, power: 0.5}`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from ablate.catalog.objectives import OBJECTIVES
from ablate.errors import UserError
from ablate.parsing.choice import WORD, one_of

DEFAULT: Mapping[str, Any] = MappingProxyType({"name": "sft"})


def require_objective(strategy: str, objective: Mapping[str, Any]) -> None:
    """UserError where processes that share a step in this way cannot train by the objective."""
    name = objective["name"]
    if strategy in ("fsdp", "deepspeed") and OBJECTIVES.says(name, "of_pairs"):
        raise UserError(
            f"strategy '{strategy}' shares out weights, but objective '{name}' holds those of "
            "before the stage whole; choose ddp"
        )


ObjectiveConfig = Annotated[dict[str, Any], WORD, one_of(OBJECTIVES, "sft")]
"""An objective's name with its options, as they are in a step's spec."""
