"""A component as a study writes it: a word such as `sft`, or `{name: ..., option: ...}`."""

from collections.abc import Callable
from typing import Any

from pydantic import AfterValidator, BeforeValidator

from ablate.errors import UserError
from ablate.parsing.validation import mistake
from fusion_zoo import Registry


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


WORD = BeforeValidator(_named)
"""A name alone stands for the component with its defaults."""


def filled_by(fill: Callable[[dict[str, Any]], dict[str, Any]]) -> AfterValidator:
    """What has every option of a choice; `fill` raises ValueError or UserError for a wrong one."""

    def filled(value: dict[str, Any]) -> dict[str, Any]:
        try:
            return fill(value)
        except (ValueError, UserError) as error:
            raise mistake(str(error)) from None

    return AfterValidator(filled)


def one_of(registry: Registry, example: str) -> AfterValidator:
    """The same of any component of a registry, such as `example`."""

    def fill(value: dict[str, Any]) -> dict[str, Any]:
        options = {**value}
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UserError(f"its name is missing, as in {{name: {example}}}")
        return {"name": name, **registry.filled(name, options)}

    return filled_by(fill)
