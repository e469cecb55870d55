"""A tree of YAML as a pydantic model, and pydantic's errors as one line a user can act on."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ablate.errors import UserError, nearest
from ablate.parsing.tree import Located

Model = TypeVar("Model", bound=BaseModel)


def _option(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("option", "should be a number, a word, true or false")
    return value


Option = Annotated[Any, BeforeValidator(_option)]
"""A value that is a number, a word, true or false."""


SEEDS = 2**32 - 1
"""The largest seed: what numpy and torch both take."""


def _seed(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= SEEDS:
        limits = {"most": SEEDS}
        raise PydanticCustomError("seed", "a seed is a whole number from 0 to {most}", limits)
    return value


Seed = Annotated[int, BeforeValidator(_seed)]
"""A whole number that starts what is drawn at random."""


class Fields(BaseModel):
    """A model that is frozen, of exact types, and names the nearest field to one it lacks."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, value: Any) -> Any:
        return known(value, cls.model_fields)


def mistake(message: str, *path: str) -> PydanticCustomError:
    """The error of a validator in words that are shown as they are; `path`: of the field that it is
    about, from the one that is validated."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "path": path})


def known(value: Any, fields: Collection[str]) -> Any:
    """`value`; an error with the nearest of the `fields` where it is a mapping with another key."""
    for key in value if isinstance(value, dict) else ():
        if key not in fields:
            hint = {"key": key, "hint": nearest(key, fields)}
            raise PydanticCustomError("unknown_key", "unknown key{hint}", hint)
    return value


def validated(model: type[Model], tree: Located, prefix: Sequence[str | int]) -> Model:
    """`tree` as `model`; `prefix` is put before the field's name in an error."""
    try:
        return model.model_validate(tree.plain())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    loc = _path(first["loc"])
    context = first.get("ctx", {})
    loc += context.get("path") or ([context["key"]] if context.get("key") else [])
    field = ".".join(map(str, [*prefix, *loc])) or "study"
    raise UserError(f"{tree.at(loc).where}: {field}: {_message(first)}")


def _path(loc: tuple[str | int, ...]) -> list[str | int]:
    """pydantic's location without its own words for the choice of a model or a key."""
    tag = 2 if loc and loc[0] == "data" else 0
    kept = [part for n, part in enumerate(loc) if n == 0 or n != tag]
    while kept and str(kept[-1]) in {"[key]", "bool", "int", "float", "str"}:
        kept.pop()
    return kept


def _message(error: Any) -> str:
    """One pydantic error in our words, with the value and the nearest valid one."""
    value, context = error["input"], error.get("ctx", {})
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    match error["type"]:
        case "missing":
            return "is missing"
        case "seed":
            return f"{error['msg']}, got {shown}"
        case "unknown_key" | "mistake" | "kind":
            return str(error["msg"])
        case "literal_error":
            return f"{shown} is no valid value{nearest(str(value), _quoted(context['expected']))}"
        case "tuple_type":
            return f"should be a list, got {shown}"
        case "dict_type" | "model_type":
            return f"should be a mapping of fields, got {shown}"
        case "too_short":
            least = context["min_length"]
            return f"should have {least} or more entries, got {context['actual_length']}"
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{message.removeprefix('input ')}, got {shown}"


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


@contextmanager
def error_location(
    tree: Located, path: Sequence[str | int], prefix: Sequence[str] = ()
) -> Iterator[None]:
    """Put file, line and field before the message of an error raised inside."""
    try:
        yield
    except (UserError, ValueError) as error:
        field = ".".join(map(str, [*prefix, *path]))
        raise UserError(f"{tree.at(path).where}: {field}: {error}") from None
