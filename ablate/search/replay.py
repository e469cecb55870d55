"""A search replayed over a table: what it finds, at what cost, and what there was to find."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ablate.cost.hours import together
from ablate.design import Candidate
from ablate.errors import UserError, listed
from ablate.search.explore import rounds_so_far
from ablate.search.tabulated import Table
from ablate.store.results import Evaluation, Lookup
from ablate.strategies import Round


@dataclass(frozen=True)
class Replay:
    """The rounds of a search over a table. Scores are composites in 0..100, by design point."""

    table: Table
    rounds: list[Round]

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Everything that the search looked at, in order."""
        return [candidate for turn in self.rounds for candidate in turn.candidates]

    @property
    def path(self) -> list[str]:
        """The winner of each round."""
        decided = (turn.decision for turn in self.rounds)
        return [decision.winner for decision in decided if decision and decision.settled]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Of what it looked at, in order."""
        return self._composites(self.candidates)

    @cached_property
    def tabulated(self) -> dict[str, float]:
        """Of everything there is: what trying all of it would have seen."""
        return self._composites(self.table.candidates)

    @property
    def regret(self) -> float:
        """What the best that is tabulated has over the best that was looked at, in points."""
        return max((*self.tabulated.values(), *self.scores.values())) - max(self.scores.values())

    def hours(self, candidates: Iterable[Candidate]) -> float | None:
        """What candidates take together, what they share once; None where that is not known."""
        return together(self.table.costs(candidate) for candidate in candidates)

    def _composites(self, candidates: Iterable[Candidate]) -> dict[str, float]:
        """Means over seeds, of what is whole; a point of which one run failed has none."""
        means = {}
        whole = (candidate for candidate in candidates if candidate.fidelity.is_whole)
        for point, runs in by_point(whole).items():
            ended = [self.table.result(run) for run in runs]
            scored = [result.composite for result in ended if isinstance(result, Evaluation)]
            if len(scored) == len(runs):
                means[point] = sum(scored) / len(scored)
        return means


def by_point(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    """The candidates of each design point, one a seed."""
    by_point: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_point.setdefault(candidate.point, []).append(candidate)
    return by_point


def replay(table: Table, last: int | None = None) -> Replay:
    """Rounds 1 to `last` (default: all) of the table's study, by the code that searches the store.

    Raises UserError where the search asks for what the table lacks, or a whole round failed.
    """
    rounds = rounds_so_far(table.study, table, last)
    for turn in rounds:
        if turn.decision is None:
            raise UserError(undecided(turn, table, table))
    return Replay(table, rounds)


def undecided(turn: Round, table: Table, lookup: Lookup) -> str:
    """Why a round is not decided: what the table lacks, and what it has instead."""
    if table.study.strategy.sieve and lookup.home is None:
        return (
            f"{table.source} has scores, but no features for the search's filter; "
            "--set explore.filter=null searches without it"
        )
    there = [
        candidate.name for candidate in turn.candidates if lookup.result(candidate) is not None
    ]
    lacking = [candidate.name for candidate in turn.candidates if candidate.name not in there]
    if not lacking:
        return f"round {turn.number}: every candidate failed"
    of = "of that round " if there else ""
    return (
        f"round {turn.number} asks for {listed(lacking)}, which {table.source} lacks; {of}it has "
        f"{listed(there or list(by_point(table.candidates)) or ['nothing'])}"
    )
