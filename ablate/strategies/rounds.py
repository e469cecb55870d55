"""Round-robin greedy growth of the mixture (Eagle, section 3.5), and the same backwards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, Strict

from ablate.design import Design, Names
from ablate.errors import UserError
from ablate.strategies import Context, Round, Sieve, Strategy
from fusion_zoo import FUSIONS
from fusion_zoo.connectors import CONNECTORS


class Rounds(Strategy):
    """Greedy growth: round 1 is the base, each further round adds the best expert of the pool.

    A round scores the best mixture so far plus each expert of the pool that it lacks, and the best
    of these goes on, also where it is no better than before. With `direction: backward` round 1 is
    the base with all of the pool, and each further round drops the expert that is missed least
    (forward and backward selection: Guyon and Elisseeff, JMLR 3, 2003, section 4.2). With `start:
    grown` the candidates of a round begin with the trained weights of the mixture they grow from,
    and compute at first what it does; by default with weights as shipped. `filter`: leaves out of a
    round what a proxy thinks little of, before it trains (docs/proxies.md). `published`: the row of
    the published table that the winner of each round is held against.
    """

    example: ClassVar[Mapping[str, Any]] = {
        "pool": ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"],
        "rounds": 3,
    }
    assumption: ClassVar[str] = "if the first of the round wins"

    pool: Names
    rounds: PositiveInt
    direction: Literal["forward", "backward"] = "forward"
    start: Literal["shipped", "grown"] = Field(
        default="shipped", exclude_if=lambda start: start == "shipped"
    )
    published: Annotated[tuple[str, ...], Strict(False)] = ()
    filter: Sieve | None = Field(default=None, exclude_if=lambda sieve: sieve is None)

    @property
    def sieve(self) -> Sieve | None:
        return self.filter

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
        if self.start == "grown":
            with study.at("start"):
                self._require_growing(study.base)
        return self.model_copy(update={"pool": pool})

    def _require_growing(self, base: Design) -> None:
        """Raise UserError unless a candidate can begin as the mixture before it."""
        fusion, connector = base.fusion.name, base.connector["name"]
        if self.direction == "backward":
            raise UserError("a round backwards adds no expert: it starts with weights as shipped")
        for name, zoo in (fusion, FUSIONS), (connector, CONNECTORS):
            if not zoo.says(name, "grows"):
                can = ", ".join(name for name in zoo.names() if zoo.says(name, "grows"))
                raise UserError(
                    f"with one expert more, {name} does not begin as what it was without, so "
                    f"start: grown is not for it, but for {can}"
                )

    def shelf(self, base: Design) -> tuple[str, ...]:
        return (*base.encoders, *self.pool)

    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        once: dict[frozenset[str], Design] = {}
        for encoders, best in self._mixtures(base, before):
            grown_from = best if self.start == "grown" else None
            design = base.model_copy(update={"encoders": encoders, "grown_from": grown_from})
            once.setdefault(frozenset(encoders), design)
        return {design.mixture: design for design in once.values()}

    def _mixtures(
        self, base: Design, before: Sequence[Round]
    ) -> Iterator[tuple[tuple[str, ...], Design | None]]:
        """Those of a round, each with the one it came of; of several that go on, two may lead to
        one."""
        if not before:
            yield base.encoders if self.direction == "forward" else self.shelf(base), None
            return
        for best in before[-1].survivors:
            for expert in self.pool:
                if self.direction == "forward" and expert not in best.encoders:
                    yield (*best.encoders, expert), best
                elif self.direction == "backward" and expert in best.encoders:
                    yield tuple(title for title in best.encoders if title != expert), best

    @property
    def published_rows(self) -> Mapping[str | int, str]:
        return dict(enumerate(self.published, start=1))
