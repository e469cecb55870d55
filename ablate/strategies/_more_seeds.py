"""`seeds: auto`: a strategy of which each candidate starts with one seed, and those whose decision
is open get more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, ClassVar

from ablate.design import Design
from ablate.strategies._decision import Choice, Outcome
from ablate.strategies._interface import Round, Strategy, Trial
from ablate.strategies._race import Rules, choose, next_look, this_round
from ablate.strategies._sieve import Sieve

RULES = Rules()


class MoreSeeds(Strategy):
    """The rounds of another strategy, each followed by turns with a seed more for those that may
    still be the best of it (sequential replication)."""

    example: ClassVar[Mapping[str, Any]] = {}

    of: Strategy

    @property
    def planned_rounds(self) -> int:
        return self.of.planned_rounds

    def most_rounds(self, base: Design) -> int:
        return self.of.most_rounds(base)

    @property
    def keeps(self) -> int:
        return self.of.keeps

    @property
    def sieve(self) -> Sieve | None:
        return self.of.sieve

    @property
    def rule(self) -> str:
        return f"seeds where they matter: {RULES.words}"

    def shelf(self, base: Design) -> tuple[str, ...]:
        return tuple(self.of.shelf(base))

    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        return self.of.designs(base, list(_merged(before)))

    def trials(self, base: Design, before: Sequence[Round]) -> Mapping[str, Trial]:
        if before and before[-1].decision and (more := next_look(RULES, this_round(before))):
            return more
        return self.of.trials(base, list(_merged(before)))

    def choose(self, rivals: Mapping[str, Sequence[Outcome]], history: Sequence[Outcome]) -> Choice:
        return choose(RULES, rivals, history, self.keeps)


def _merged(before: Sequence[Round]) -> Iterator[Round]:
    """A round a turn, as the other strategy knows them: with what was decided last."""
    for number, turns in groupby(before, lambda turn: turn.round):
        every = list(turns)
        candidates = tuple(candidate for turn in every for candidate in turn.candidates)
        yield replace(every[-1], number=number, candidates=candidates)
