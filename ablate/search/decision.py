"""Who goes on after a turn, how sure that is, and the rule that chose: written down for each."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import suites
from ablate.store.results import Evaluation
from ablate.strategies import Decision, Outcome, Strategy, blamed, by_point, mean

if TYPE_CHECKING:
    from ablate.stats.noise import Noise
    from ablate.store.read_cache import ReadCache

DRAWS = 10_000


def decide(
    number: int,
    turn: Sequence[Outcome],
    before: Sequence[Outcome],
    strategy: Strategy,
    stored: Mapping[str, Any] | None,
    memory: "ReadCache | None" = None,
) -> Decision | None:
    """The decision between the design points of a turn, of which all candidates have ended.

    `before`: the outcomes of earlier turns. None if every point failed. A `stored` decision made
    from the same inputs by the same rule is given back as it is. `memory`: of what was read of
    evaluations. Raises UserError where they were not scored by one measure.
    """
    failed = {
        outcome.candidate.point: outcome.failure for outcome in reversed(turn) if outcome.failure
    }
    known = by_point([outcome for outcome in (*before, *turn) if outcome.result])
    points = dict.fromkeys(outcome.candidate.point for outcome in turn)
    rivals = {name: known[name] for name in sorted(points) if name not in failed}
    if not rivals:
        return None
    every = [(name, outcome) for name, runs in rivals.items() for outcome in runs]
    for fidelity in {outcome.candidate.fidelity.words for _, outcome in every}:
        alike = [pair for pair in every if pair[1].candidate.fidelity.words == fidelity]
        suites.require_same_measure((name, _of(outcome).measure) for name, outcome in alike)
    history = [outcome for outcome in before if outcome.candidate.point not in rivals]
    behind = [outcome for outcome in history if outcome.result] if strategy.looks else []
    inputs = [_of(outcome).key for outcome in chain(*rivals.values(), behind)]
    made_of = stored and (stored.get("inputs"), stored.get("failed"), stored.get("rule"))
    if stored and made_of == (inputs, failed, strategy.rule) and "unread" in stored:
        decision = Decision.from_json(stored)
        if decision.look or len(decision.survivors) == min(strategy.keeps, len(rivals)):
            return decision
    with blamed(strategy.kind, f"decide turn {number}"):
        choice = strategy.choose(rivals, history)
    scores = {name: mean(runs) for name, runs in choice.runs.items()}
    winner = choice.survivors[0]
    others = sorted(scores.keys() - {winner}, key=lambda name: (-scores[name], name))
    difference, interval, noise = None, None, None
    if others:
        first, second = (choice.runs[name] for name in (winner, others[0]))
        noise = _noise(first, second, memory=memory)
        difference, interval = _compared(first, second, noise)
    return Decision(
        round=number,
        winner=winner,
        survivors=choice.survivors,
        runner_up=others[0] if others else None,
        scores=scores,
        difference=difference,
        interval=interval,
        tie=_tie(interval, noise, min(map(len, choice.runs.values()))) if others else False,
        rule=strategy.rule,
        failed=failed,
        inputs=inputs,
        unread={name: bad for name, runs in choice.runs.items() if (bad := _unread(runs))},
        fidelity=choice.runs[winner][0].candidate.fidelity,
        look=choice.look,
        values=dict(choice.values),
        noise=noise.to_json() if noise else None,
    )


def _of(outcome: Outcome) -> Evaluation:
    assert isinstance(outcome.result, Evaluation)  # what a `Lookup` finds
    return outcome.result


def _tie(interval: tuple[float, float] | None, noise: "Noise | None", runs: int) -> bool | None:
    if interval is None:
        return None
    if interval[0] <= 0.0 <= interval[1]:
        return True
    return False if noise or runs > 1 else None


def _unread(runs: Sequence[Outcome]) -> dict[str, int]:
    """By task, of all runs."""
    unread = [_of(outcome).unread() for outcome in runs]
    tasks = sorted({task for each in unread for task in each})
    return {task: sum(each.get(task, 0) for each in unread) for task in tasks}


def _noise(*compared: Sequence[Outcome], memory: "ReadCache | None") -> "Noise | None":
    """Training noise as runs beside the `compared` ones have it, in the store or shipped."""
    every = [_of(outcome) for runs in compared for outcome in runs]
    if any(outcome.answers is None for outcome in every):
        return None
    from ablate.store.replicates import floor  # numpy: only when there is something to decide

    asked = [(row["task"], row["id"]) for row in every[0].rows()]
    but = {_of(outcome).key for runs in compared if len(runs) > 1 for outcome in runs}
    return floor([Path(outcome.answers or "").parent for outcome in every], but, asked, memory)


def _compared(
    winner: Sequence[Outcome], other: Sequence[Outcome], noise: "Noise | None"
) -> tuple[float, tuple[float, float] | None]:
    """Difference of two points, each with one evaluation a run, and its interval; that is None
    where only scores are known. `noise`: that of other runs."""
    if any(_of(outcome).answers is None for outcome in (*winner, *other)):
        return mean(winner) - mean(other), None
    from ablate.stats.bootstrap import compare  # numpy, too

    a, b = ([_of(outcome).rows() for outcome in runs] for runs in (winner, other))
    interval = compare(a, b, DRAWS, [noise] if noise else [])
    return interval.estimate, (interval.low, interval.high)
