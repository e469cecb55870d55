"""Every mixture of the base with some of a pool, in one round: what no search can beat."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any, ClassVar, Self

from pydantic import PositiveInt

from ablate.design import Design, Names
from ablate.errors import UserError
from ablate.strategies import Context, Round, Strategy

MOST = 10_000
"""Mixtures that a study may have."""


class Exhaustive(Strategy):
    """Every subset of the pool, of up to `size` experts, each with the base, side by side.

    `size`: default the whole pool. The base alone is among them.
    """

    example: ClassVar[Mapping[str, Any]] = {
        "pool": ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"],
        "size": 2,
    }
    goes_on: ClassVar[bool] = False
    noun: ClassVar[str] = "mixture"

    pool: Names
    size: PositiveInt | None = None

    @property
    def planned_rounds(self) -> int:
        return 1

    def resolved(self, study: Context) -> Self:
        pool = study.encoders("pool", self.pool)
        with study.at("size" if self.size else "pool"):
            if self._size > len(pool):
                raise UserError(f"{self._size} experts, the pool has {len(pool)}")
            self._require_few()
        return self.model_copy(update={"pool": pool})

    def shelf(self, base: Design) -> tuple[str, ...]:
        return (*base.encoders, *self.pool)

    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        self._require_few()
        added = (some for n in range(self._size + 1) for some in combinations(self.pool, n))
        designs = [
            base.model_copy(update={"encoders": (*base.encoders, *experts)}) for experts in added
        ]
        return {design.mixture: design for design in designs}

    def _require_few(self) -> None:
        count = sum(comb(len(self.pool), n) for n in range(self._size + 1))
        if count > MOST:
            raise UserError(f"{count:,} mixtures are too many, at most {MOST:,}: give a `size`")

    @property
    def _size(self) -> int:
        return len(self.pool) if self.size is None else self.size

    @property
    def heading(self) -> str:
        return "Mixtures"
