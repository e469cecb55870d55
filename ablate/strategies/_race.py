"""How a round is raced: look by look its candidates get more training, then more seeds, until one
wins. Who leads and who is out is for `stats.selection` to say; here is what it is told, and what
follows. A pure function of results.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from ablate.design import Candidate, Design
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.strategies._decision import Choice, Look, Outcome, Standing, by_point, mean
from ablate.strategies._interface import Round, Trial

if TYPE_CHECKING:  # numpy: only when there is something to decide
    from ablate.stats.selection import Look as Seen
    from ablate.stats.selection import Spread, Verdict

ERROR, INDIFFERENCE, SEEDS = 0.05, 1.0, 5
FEWEST = 3  # as in `stats.selection`


@dataclass(frozen=True)
class Rules:
    """How a round is raced.

    `budgets`: how much of a candidate is trained and asked at each look, at last all of it;
    `error`: the risk of dropping the best, over all looks and candidates of a round;
    `indifference`: points by which a candidate may be better than the winner without harm; `seeds`:
    runs of a candidate, at most; `keep`: how many go on from a look at a part at most, None for as
    many as are not dropped.
    """

    budgets: tuple[Fidelity, ...] = (WHOLE,)
    error: float = ERROR
    indifference: float = INDIFFERENCE
    seeds: int = SEEDS
    keep: int | None = None

    @property
    def words(self) -> str:
        """The rule as it is written down with a decision."""
        at = "; ".join(budget.words or "in full" for budget in self.budgets)
        most = f", at most {self.keep} go on from a part" if self.keep else ""
        return (
            f"race at {at}, up to {self.seeds} seeds{most}: a risk of {self.error:g} a round of "
            f"dropping the best, {self.indifference:g} points are no difference"
        )


def this_round(before: Sequence[Round]) -> list[Round]:
    """The turns of the last turn's round."""
    return [turn for turn in before if turn.round == before[-1].round]


def next_look(rules: Rules, turns: Sequence[Round]) -> dict[str, Trial]:
    """What is tried next in the round of these turns; nothing if it is decided.

    While its last turn is not, as if the first ones went on to the last budget, and the first won.
    """
    last = turns[-1]
    fidelity = last.candidates[0].fidelity
    seeds: tuple[int, ...] | None = None
    if last.decision:
        points = last.decision.look.open if last.decision.look else ()
    else:
        points = () if fidelity.is_whole else last.points[: _half(len(last.points))]
    if fidelity.is_whole:
        seeds = (max(candidate.seed for turn in turns for candidate in turn.candidates) + 1,)
    else:
        reached = rules.budgets.index(fidelity)
        fidelity = rules.budgets[-1 if len(points) == 1 else reached + 1]
    tried = {candidate.point: candidate for turn in turns for candidate in turn.candidates}
    return {point: Trial(design_of(tried[point]), seeds, fidelity) for point in points}


def design_of(candidate: Candidate) -> Design:
    """What is tried of it, without seed and fidelity."""
    return Design(**{field: getattr(candidate, field) for field in Design.model_fields})


def _half(count: int) -> int:
    return max(FEWEST, math.ceil(count / 2))


def choose(
    rules: Rules,
    rivals: Mapping[str, Sequence[Outcome]],
    history: Sequence[Outcome],
    keeps: int = 1,
) -> Choice:
    """Who of the last turn goes on, and why; `keeps`: how many, once the round is decided."""
    from ablate.stats.selection import judge

    every = sorted(
        (*history, *(outcome for runs in rivals.values() for outcome in runs)), key=_order
    )
    known = [outcome for outcome in every if outcome.result]
    round_ = every[-1].candidate.round
    failed = {
        outcome.candidate.point
        for outcome in every
        if outcome.failure and outcome.candidate.round == round_
    }
    of_round = [
        outcome
        for outcome in known
        if outcome.candidate.round == round_ and outcome.candidate.point not in failed
    ]
    turns = [list(group) for _, group in groupby(of_round, _turn)]
    seen = [_seen(of_round, known, group) for group in turns]
    fidelity = turns[-1][0].candidate.fidelity
    latest = _runs(of_round, turns[-1])
    if len(by_point(of_round)) == 1 and fidelity.is_whole:
        return Choice(tuple(latest), latest)
    most = len(rules.budgets) + max(0, rules.seeds - len(next(iter(by_point(turns[0]).values()))))
    most = max(most, len(turns))
    going, cut = _going(rules, seen, turns, most)
    leader, verdict = going[0], judge(seen, most, rules.indifference, rules.error)
    idle = _wanting_questions(seen[-1], verdict, leader) if fidelity.is_whole else set()
    open_ = tuple(name for name in going if name not in idle)
    if fidelity.is_whole and (len(open_) == 1 or len(turns) == most):
        open_ = ()
    correct = _correct(rules, seen, turns, known, leader, most)
    enough = fidelity.is_whole and correct is not None and correct >= 1.0 - rules.error
    if enough:
        open_ = ()
    others = [name for name in verdict.ranked if name != leader]
    survivors = open_ or (leader, *others)[:keeps]
    known_bounds = seen[-1].noise is not None and seen[-1].crossing is not None
    look = Look(
        open=open_,
        standings=dict(_standings(verdict, leader, latest, open_, cut, idle)),
        error=rules.error,
        spent=rules.error / most if known_bounds else 0.0,
        correct=correct,
        notes=tuple(_notes(seen[-1], fidelity, not (open_ or enough) and len(going) > 1)),
    )
    return Choice(survivors, latest, look)


def _going(
    rules: Rules, seen: "Sequence[Seen]", turns: Sequence[Sequence[Outcome]], most: int
) -> tuple[list[str], set[str]]:
    """Who may still be the best, the leader first; and who was cut since only so many go on."""
    from ablate.stats.selection import judge

    going, cut = list[str](), set[str]()
    for n, turn in enumerate(turns, start=1):
        verdict = judge(seen[:n], most, rules.indifference, rules.error)
        here = {outcome.candidate.point for outcome in turn}
        leader = next(name for name in verdict.ranked if name in here)
        going = [name for name in dict.fromkeys((leader, *verdict.open)) if name not in cut]
        if rules.keep and not turn[0].candidate.fidelity.is_whole:
            cut |= set(going[rules.keep :])
            going = going[: rules.keep]
    return going, cut


def _correct(
    rules: Rules,
    seen: "Sequence[Seen]",
    turns: Sequence[Sequence[Outcome]],
    known: Sequence[Outcome],
    leader: str,
    most: int,
) -> float | None:
    """The probability that the leader is the best, by what is known now of earlier looks, too."""
    from ablate.stats.selection import judge

    noise, now = _noise(known), []
    for look, turn in zip(seen, turns, strict=True):
        fidelity = turn[0].candidate.fidelity
        crossing = look.crossing if fidelity.is_whole else _crossing(known, fidelity)
        now.append(replace(look, noise=noise, crossing=crossing))
    verdict = judge(now, most, rules.indifference, rules.error)
    return verdict.good if verdict.leader == leader else None


def _turn(outcome: Outcome) -> int:
    return outcome.turn


def _order(outcome: Outcome) -> tuple[int, str, int]:
    """The same whoever is still in the race, so that ties fall the same way at every look."""
    return outcome.turn, outcome.candidate.point, outcome.candidate.seed


def _runs(outcomes: Sequence[Outcome], turn: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Of the points of a turn all runs of its fidelity up to it."""
    points = dict.fromkeys(outcome.candidate.point for outcome in turn)
    alike = [
        outcome
        for outcome in outcomes
        if outcome.turn <= turn[0].turn
        and outcome.candidate.point in points
        and outcome.candidate.fidelity == turn[0].candidate.fidelity
    ]
    return by_point(alike)


def _seen(outcomes: Sequence[Outcome], known: Sequence[Outcome], turn: Sequence[Outcome]) -> "Seen":
    """What a look could know: nothing of later turns."""
    from ablate.stats.bootstrap import sample_of
    from ablate.stats.selection import WHOLE as NOTHING
    from ablate.stats.selection import Look as Seen
    from ablate.stats.selection import image_spread

    runs, fidelity = _runs(outcomes, turn), turn[0].candidate.fidelity
    before = [outcome for outcome in known if outcome.turn <= turn[0].turn and outcome.result]
    answers = [
        [outcome.result.rows() for outcome in each if outcome.result] for each in runs.values()
    ]
    answered = all(rows for each in answers for rows in each)
    return Seen(
        names=list(runs),
        means=[mean(each) for each in runs.values()],
        runs=[len(each) for each in runs.values()],
        images=image_spread(sample_of(answers)) if answered else NOTHING,
        noise=_noise(before),
        crossing=NOTHING if fidelity.is_whole else _crossing(before, fidelity),
    )


def _noise(known: Sequence[Outcome]) -> "Spread | None":
    """How far runs of one candidate lie apart that differ in their seed, pooled over candidates
    and with what is shipped."""
    from ablate.stats.selection import Spread

    results = [outcome.result for outcome in known if outcome.result]
    floor = results[0].floor(results[1:])
    squares = floor.crude * floor.freedom if floor else 0.0
    freedom = floor.freedom if floor else 0.0
    for runs in by_point(known).values():
        budgets: dict[str, list[float]] = {}
        for outcome in runs:
            if outcome.result:
                budgets.setdefault(outcome.candidate.fidelity.words, []).append(
                    outcome.result.composite
                )
        for scores in budgets.values():
            middle = sum(scores) / len(scores)
            squares += sum((score - middle) ** 2 for score in scores)
            freedom += len(scores) - 1
    return Spread(squares / freedom, freedom) if freedom else None


def _crossing(known: Sequence[Outcome], fidelity: Fidelity) -> "Spread | None":
    """How far candidates moved against each other from this budget to the whole one."""
    from ablate.stats.selection import crossing_spread

    rounds: dict[int, list[tuple[float, float]]] = {}
    for runs in by_point(known).values():
        part = [outcome for outcome in runs if outcome.candidate.fidelity == fidelity]
        whole = [outcome for outcome in runs if outcome.candidate.fidelity.is_whole]
        if part and whole:
            pair = (mean(part), mean(whole))
            rounds.setdefault(part[0].candidate.round, []).append(pair)
    return crossing_spread(rounds.values())


def _wanting_questions(seen: "Seen", verdict: "Verdict", leader: str) -> set[str]:
    """The open ones of which more seeds would tell little: their error is that of the questions."""
    if seen.noise is None:
        return set()
    import numpy as np

    runs, images = np.asarray(seen.runs), np.asarray(seen.images.variance)
    variance = float(np.asarray(seen.noise.variance))
    top = seen.names.index(leader)
    wanting = set()
    for n, name in enumerate(seen.names):
        noise = variance * (1 / runs[n] + 1 / runs[top])
        if name in verdict.open and images.ndim and noise <= images[n, top] / 2:
            wanting.add(name)
    return wanting


def _standings(
    verdict: "Verdict",
    leader: str,
    latest: Mapping[str, Sequence[Outcome]],
    open_: Sequence[str],
    cut: set[str],
    idle: set[str],
) -> Iterator[tuple[str, Standing]]:
    """Where each point of the turn stands, the leader first."""
    top = mean(latest[leader])
    for name in (name for name in verdict.ranked if name in latest):
        bound = verdict.ahead[name]
        known = None if math.isinf(bound) else bound
        mark, why = "not told apart", "no more seeds"
        if name == leader:
            mark, why = "leads", ""
        elif name in cut:
            mark, why = "dropped", "more than may go on"
        elif name in verdict.out:
            mark = "dropped"
            why = "no bound is known: not among the best half" if known is None else "worse"
        elif name in verdict.equal:
            mark, why = "equal", "within the indifference"
        elif name in idle:
            why = "more questions are wanted, not more seeds"
        elif name in open_:
            mark, why = "goes on", ""
        score = mean(latest[name])
        yield name, Standing(len(latest[name]), score, top - score, known, mark, why)


def _notes(seen: "Seen", fidelity: Fidelity, tied: bool) -> Iterator[str]:
    """What the bounds rest on, and what they lack."""
    if seen.noise is None:
        yield "Training noise is not known: nothing was trained twice. The best half goes on."
    else:
        yield f"Training noise of a run: {_spread(seen.noise)}."
    if seen.crossing is None:
        yield f"How far candidates move from {fidelity.words} to all is not known yet."
    elif not fidelity.is_whole:
        yield f"From {fidelity.words} to all a candidate moves by {_spread(seen.crossing)}."
    if tied:
        yield "They were not told apart: the highest mean goes on."


def _spread(spread: "Spread") -> str:
    import numpy as np

    variance, freedom = (float(np.asarray(part)) for part in spread)
    return f"{math.sqrt(variance):.1f} points ({freedom:.0f} degrees of freedom)"
