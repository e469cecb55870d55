"""What `infra` may say for one launcher, under its name: the launcher's own `Options`."""

import contextlib
from functools import cache
from typing import Any

from pydantic import create_model

from ablate.catalog import launchers
from ablate.errors import UserError
from ablate.parsing.validation import Fields


def options(name: object) -> type[Fields] | None:
    """What `infra.NAME` may say for this launcher; None for one without options, or no launcher."""
    if not isinstance(name, str) or name not in launchers.names():
        return None
    section: type[Fields] | None = launchers.load(name).Options
    return section


def with_options() -> list[str]:
    """The launchers that have options; of one that cannot be imported nobody knows."""
    names = []
    for name in launchers.names():
        with contextlib.suppress(UserError):
            names += [name] * bool(options(name))
    return names


def read_options(name: str, value: Any) -> Fields:
    """`value`, what `infra.NAME` says, as options; pydantic's errors speak of `NAME.field`."""
    section = _section(name).model_validate({name: value})
    options_read: Fields = getattr(section, name)
    return options_read


@cache
def _section(name: str) -> type[Fields]:
    """A model of one field, the launcher's options."""
    fields: Any = {name: (options(name), ...)}
    return create_model(name, __base__=Fields, **fields)
