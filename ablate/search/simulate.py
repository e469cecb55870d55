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
    `dropped`: how often a round's best was dropped at a look, None where there are no looks;
    `hours`: by repetition, None where they are not known.
    """

    strategy: str
    right: float
    good: float
    regret: Sequence[float]
    dropped: float | None
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
    regret, hours, dropped = [], [], []
    for number in range(repetitions):
        lookup = noisy.drawn(number)
        turns = rounds_so_far(study, lookup)
        for turn in turns:
            if turn.decision is None:
                raise UserError(undecided(turn, noisy.table, lookup))
        asked = [one for turn in turns for one in turn.candidates]
        truth = noisy.truths(asked)
        regret.append(noisy.best - truth[found(turns)])
        hours.append(noisy.hours(asked))
        dropped += _best_dropped(turns, truth)
    known = [one for one in hours if one is not None]
    return Simulation(
        study.explore.kind,
        right=sum(one <= 0.0 for one in regret) / repetitions,
        good=sum(one <= indifference for one in regret) / repetitions,
        regret=regret,
        dropped=sum(dropped) / len(dropped) if dropped else None,
        hours=known if len(known) == repetitions else None,
    )


def found(turns: Sequence[Round]) -> str:
    """What a search came to: of its rounds' winners the one that scored highest, whole."""
    settled = [one.decision for one in turns if one.decision and one.decision.settled]
    whole = [one for one in settled if one.fidelity.is_whole] or settled
    return max(whole, key=lambda one: one.scores[one.winner]).winner


def _best_dropped(turns: Sequence[Round], truth: Mapping[str, float]) -> Iterator[bool]:
    """Of each round that has looks, whether the best of its candidates was dropped."""
    for _, group in groupby(turns, lambda turn: turn.round):
        looks = list(group)
        best = max(looks[0].points, key=lambda point: truth[point])
        if any(one.decision and one.decision.look for one in looks):
            yield any(one.mark(best) == "dropped" for one in looks)
