"""Beam search over mixtures: greedy growth of which several go on."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveInt

from ablate.strategies.rounds import Rounds


class Beam(Rounds):
    """Rounds of which the best `width` mixtures go on, not the best alone.

    A mixture that two of them lead to is tried once. With a width of 1 it is `rounds` (Lowerre, The
    Harpy Speech Recognition System, 1976).
    """

    example: ClassVar[Mapping[str, Any]] = {**Rounds.example, "width": 2}

    width: PositiveInt = 2

    @property
    def keeps(self) -> int:
        return self.width
