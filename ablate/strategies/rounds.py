"""Round-robin greedy growth of the mixture (Eagle, section 3.5), and the same backwards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import PositiveInt, Strict

from ablate.design import Design, Names
from ablate.errors import UserError
from ablate.strategies import Context, Round, Strategy


class Rounds(Strategy):
    """Greedy growth: round 1 is the base, each further round adds the best expert of the pool.

    A round scores the best mixture so far plus each expert of the pool that it lacks, and the best
    of these goes on, also where it is no better than before. With `direction: backward` round 1 is
    the base with all of the pool, and each further round drops the expert that is missed least
    (forward and backward selection: Guyon and Elisseeff, JMLR 3, 2003, section 4.2). `published`:
    the row of the published table that the winner of each round is held against.
    """

    example: ClassVar[Mapping[str, Any]] = {
        "pool": ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"],
        "rounds": 3,
    }
    assumption: ClassVar[str] = "if the first of the round wins"

    pool: Names
    rounds: PositiveInt
    direction: Literal["forward", "backward"] = "forward"
    published: Annotated[tuple[str, ...], Strict(False)] = ()

    @property
    def planned_rounds(self) -> int:
        return self.rounds

    def most_rounds(self, base: Design) -> int:
        return len(self.pool) + 1

    def resolved(self, study: Context) -> Self:
        pool = study.encoders("pool", self.pool)
        with study.at("rounds"):
            if self.rounds > len(pool) + 1:
                raise UserError(
                    f"{self.rounds} rounds need {self.rounds - 1} experts, the pool has "
                    f"{len(pool)}: at most {len(pool) + 1} rounds"
                )
        for n, row in enumerate(self.published):
            with study.at("published", n):
                study.require_row(row)
        return self.model_copy(update={"pool": pool})

    def shelf(self, base: Design) -> tuple[str, ...]:
        return (*base.encoders, *self.pool)

    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        once: dict[frozenset[str], tuple[str, ...]] = {}
        for mixture in self._mixtures(base, before):
            once.setdefault(frozenset(mixture), mixture)
        found = [base.model_copy(update={"encoders": mixture}) for mixture in once.values()]
        return {design.mixture: design for design in found}

    def _mixtures(self, base: Design, before: Sequence[Round]) -> Iterator[tuple[str, ...]]:
        """Those of a round; of several that go on, two may lead to one."""
        if not before:
            yield base.encoders if self.direction == "forward" else self.shelf(base)
            return
        for best in before[-1].survivors:
            for expert in self.pool:
                if self.direction == "forward" and expert not in best.encoders:
                    yield (*best.encoders, expert)
                elif self.direction == "backward" and expert in best.encoders:
                    yield tuple(title for title in best.encoders if title != expert)

    @property
    def published_rows(self) -> Mapping[str | int, str]:
        return dict(enumerate(self.published, start=1))
