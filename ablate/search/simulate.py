"""What a strategy finds and costs, many times over, by results drawn from a noise model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ablate.config.study import Study
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.search.noise_model import NoisyTable
from ablate.search.replay import undecided
from ablate.strategies import Round


@dataclass(frozen=True)
class Simulation:
    """A strategy over many repetitions.

    `right`: how often it found the best that is tabulated; `good`: that, or one within the
    indifference; `regret`: how far what it found is behind the best, in points, by repetition;
    `dropped`: how often a race dropped the best of its round by a bound, and `given_up` without
    one, None where no risk is promised; `hours`: by repetition, None where they are not known.
    """

    strategy: str
    right: float
    good: float
    regret: Sequence[float]
    dropped: float | None
    given_up: float | None
    hours: Sequence[float] | None

    @property
    def expected(self) -> float | None:
        """Mean hours of a repetition."""
        return sum(self.hours) / len(self.hours) if self.hours else None

    @property
    def worst(self) -> float | None:
        """The most that a repetition took."""
        return max(self.hours) if self.hours else None


def simulate(
    noisy: NoisyTable, study: Study, repetitions: int, indifference: float = 0.0
) -> Simulation:
    """The search of a study whose designs the table knows, so often.

    Raises UserError where it asks for what the table lacks.
    """
    regret: list[float] = []
    hours: list[float | None] = []
    ends: list[str] = []
    for number in range(repetitions):
        lookup = noisy.drawn(number)
        turns = rounds_so_far(study, lookup)
        for turn in turns:
            if turn.decision is None:
                raise UserError(undecided(turn, noisy.table, lookup))
        asked = [candidate for turn in turns for candidate in turn.candidates]
        truth = lookup.truths(asked)
        regret.append(max(lookup.truths(noisy.everything).values()) - truth[chosen(turns)])
        hours.append(noisy.hours(asked))
        ends += _ends_of_best(turns, truth)
    known = [spent for spent in hours if spent is not None]
    return Simulation(
        study.explore.kind,
        right=sum(loss <= 0.0 for loss in regret) / repetitions,
        good=sum(loss <= indifference for loss in regret) / repetitions,
        regret=regret,
        dropped=ends.count(DROPPED) / len(ends) if ends else None,
        given_up=ends.count(GIVEN_UP) / len(ends) if ends else None,
        hours=known if len(known) == repetitions else None,
    )


def chosen(turns: Sequence[Round]) -> str:
    """What a search came to: of its rounds' winners the one that scored highest, whole."""
    settled = [turn.decision for turn in turns if turn.decision and turn.decision.settled]
    whole = [decision for decision in settled if decision.fidelity.is_whole] or settled
    return max(whole, key=lambda decision: decision.scores[decision.winner]).winner


DROPPED, GIVEN_UP, KEPT = "dropped", "given up", "kept"


def _ends_of_best(turns: Sequence[Round], truth: Mapping[str, float]) -> Iterator[str]:
    """Of each round that promises a risk, what became of its best candidate: dropped by a bound,
    given up without one, or neither."""
    for _, group in groupby(turns, lambda turn: turn.round):
        race = list(group)
        best = max(race[0].points, key=lambda point: truth[point])
        looks = [turn.decision.look for turn in race if turn.decision and turn.decision.look]
        if not any(look.error for look in looks):
            continue
        standings = [look.standings[best] for look in looks if best in look.standings]
        out = [standing for standing in standings if standing.mark == "dropped"]
        proved = any(standing.bound is not None and standing.bound < 0.0 for standing in out)
        yield DROPPED if proved else GIVEN_UP if out else KEPT
