"""What `infra` may say of a tracker: `tensorboard`, or `{name: wandb, offline: true}`."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from ablate.catalog.trackers import TRACKERS
from ablate.errors import UserError


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    """With every option of it."""
    options = {**value}
    name = options.pop("name", None)
    try:
        if not isinstance(name, str):
            raise UserError("its name is missing, as in {name: tensorboard}")
        return {"name": name, **TRACKERS.filled(name, options)}
    except UserError as error:
        raise PydanticCustomError("ours", "{said}", {"said": str(error)}) from None


TrackerConfig = Annotated[dict[str, Any], BeforeValidator(_named), AfterValidator(_filled)]
"""A tracker's name with its options."""
