"""Leaving candidates out of a round before they train, by a number that needs no training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PositiveInt

from ablate.parsing.validation import Fields


class Sieve(Fields):
    """Of each round but the first only the `keep` candidates train that a `proxy` likes best.

    `proxy`: one of `ablate.proxies`; `measured_on`: a study whose scores tell how often that would
    have kept the best, by name or path.
    """

    proxy: str
    keep: PositiveInt
    measured_on: str | None = None


@dataclass(frozen=True)
class Sifted:
    """What a sieve made of a round: the proxy's `numbers` by point, the points it `left_out`, the
    worst last, and what is known of the `risk` that the best is among those, in a sentence."""

    proxy: str
    keep: int
    numbers: Mapping[str, float]
    left_out: tuple[str, ...]
    risk: str

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Sifted":
        """From the JSON of a decision."""
        return cls(**{**value, "left_out": tuple(value["left_out"])})
