"""What a design chooses beside its encoders, fusion and language model: an axis each.

The choice on an axis is {"name": a component's, and all of its options}. Imports no torch.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.errors import nearest
from fusion_zoo import Registry
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS
from fusion_zoo.tilings import TILINGS

Choice = Mapping[str, Any]


def _as_written(name: str) -> Choice:
    return {"name": name}


def _mlp(name: str) -> Choice:
    """LLaVA's words for linear layers: `linear`, `mlp2x_gelu`, `mlp3x_gelu`, ..."""
    match = re.fullmatch(r"mlp([1-9]\d?)x_gelu", name)
    if name == "linear" or match:
        return {"name": "mlp", "depth": int(match[1]) if match else 1}
    return {"name": name}


@dataclass(frozen=True)
class Axis:
    """One axis. `default`: what is chosen where nothing is said; `without`: what that is, where it
    is to do without any component; `spelled`: what another word for a choice stands for."""

    registry: Registry
    default: Choice
    without: str = ""
    spelled: Callable[[str], Choice] = _as_written

    @property
    def name(self) -> str:
        """Such as `connector`, as a study and a step's spec have it."""
        return self.registry.noun

    def names(self) -> list[str]:
        """Every word that may be chosen."""
        plain = [self.default["name"]] if self.without else []
        return [*plain, *self.registry.names()]

    def filled(self, given: Choice) -> dict[str, Any]:
        """A choice with every option; ValueError for an unknown name or option, with the nearest
        one. An option that is None counts as not given."""
        options = {name: value for name, value in given.items() if value is not None}
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(f"its name is missing, as in {{name: {self.default['name']}}}")
        options = {**self.spelled(name), **options}
        name = options.pop("name")
        if self.without and name == self.default["name"]:
            if options:
                raise ValueError(f"{self.name} '{name}' has no option '{min(options)}'")
            return dict(self.default)
        if name not in self.registry:
            raise ValueError(f"no {self.name} '{name}'{nearest(name, self.names())}")
        return {"name": name, **self.registry.filled(name, options)}

    def label(self, choice: Choice) -> str:
        """A choice in words: its name, and the options that are not as by default."""
        name = str(choice["name"])
        usual = self.registry.filled(name, {}) if name in self.registry else {}
        changed = [
            f"{option}={','.join(value) if isinstance(value, list) else value}"
            for option, value in choice.items()
            if option != "name" and value != usual.get(option)
        ]
        return " ".join([name, *changed])


CONNECTOR = Axis(CONNECTORS, {"name": "mlp", "depth": 2}, spelled=_mlp)
TILING = Axis(TILINGS, {"name": "none"}, "Each image is seen whole, as one view")
INJECTION = Axis(INJECTIONS, {"name": "prefix"})
AXES: Mapping[str, Axis] = {axis.name: axis for axis in (CONNECTOR, TILING, INJECTION)}
