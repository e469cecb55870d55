"""Some of a part's weights, by patterns of their names, and no others."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from ablate.adapters import Adapter
from ablate.errors import UserError, nearest

LABEL = "layers {match}"


class Layers(Adapter):
    """match: such as `blocks.2[0-9]` or `layers.?.self_attn`: whole words of a weight's name, with
    the signs of file patterns; () for all. UserError for one that no weight's name has in it.
    """

    def __init__(self, *, match: Sequence[str] = ()) -> None:
        self.match = match

    def attach(self, part: nn.Module) -> list[nn.Parameter]:
        named = dict(part.named_parameters())
        for pattern in self.match:
            if not any(_has(name, pattern) for name in named):
                inside = [name for name, _ in part.named_modules() if name]
                raise UserError(f"no weight of it is in '{pattern}'{nearest(pattern, inside)}")
        wanted = self.match
        return [
            parameter
            for name, parameter in named.items()
            if not wanted or any(_has(name, pattern) for pattern in wanted)
        ]


def _has(name: str, pattern: str) -> bool:
    return fnmatchcase(f".{name}.", f"*.{pattern}.*")
