"""Who wins a round, how sure that is, and the rule that chose: written down for every round."""

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.catalog import suites
from ablate.store.results import Evaluation, Failure
from ablate.strategies import Decision

RULE = "highest composite (mean over seeds); equal ones by name"
DRAWS = 10_000


Results = Mapping[str, Sequence[Evaluation | Failure | None]]


def decide(
    number: int, points: Results, stored: Mapping[str, Any] | None, keeps: int = 1
) -> Decision | None:
    """The decision between design `points`, each with one result a seed; so many of them go on.

    None while a result is missing, or if every point failed. A `stored` decision made from the
    same inputs is given back as it is. Raises UserError where they were not scored by one measure.
    """
    results = [result for seeds in points.values() for result in seeds]
    if any(result is None for result in results):
        return None
    failed = {
        name: f"{result.step.name}: {result.message}"
        for name, seeds in points.items()
        for result in reversed(seeds)
        if isinstance(result, Failure)
    }
    scored = {
        name: [result for result in seeds if isinstance(result, Evaluation)]
        for name, seeds in points.items()
        if name not in failed
    }
    if not scored:
        return None
    suites.require_one((name, one.measure) for name, seeds in scored.items() for one in seeds)
    inputs = [result.key for name in sorted(scored) for result in scored[name]]
    known = stored and (stored.get("inputs"), stored.get("failed"), stored.get("rule"))
    if stored and known == (inputs, failed, RULE) and "unread" in stored:
        before = Decision.from_json(stored)
        if len(before.survivors) == min(keeps, len(scored)):
            return before
    means = {name: _mean(seeds) for name, seeds in scored.items()}
    ranked = sorted(means, key=lambda name: (-means[name], name))
    winner, *others = ranked
    difference, interval = None, None
    if others:
        difference, interval = _compared(scored[winner], scored[others[0]])
    return Decision(
        round=number,
        winner=winner,
        survivors=tuple(ranked[:keeps]),
        runner_up=others[0] if others else None,
        scores=means,
        difference=difference,
        interval=interval,
        tie=_tie(interval, runs=min(map(len, scored.values()))) if others else False,
        rule=RULE,
        failed=failed,
        inputs=inputs,
        unread={name: found for name in sorted(scored) if (found := _unread(scored[name]))},
    )


def _tie(interval: tuple[float, float] | None, runs: int) -> bool | None:
    if interval is None:
        return None
    if interval[0] <= 0.0 <= interval[1]:
        return True
    return False if runs > 1 else None


def _unread(seeds: Sequence[Evaluation]) -> dict[str, int]:
    """By task, of all seeds."""
    found = [one.unread() for one in seeds]
    tasks = sorted({task for each in found for task in each})
    return {task: sum(each.get(task, 0) for each in found) for task in tasks}


def _mean(seeds: Sequence[Evaluation]) -> float:
    return sum(one.composite for one in seeds) / len(seeds)


def _compared(
    winner: Sequence[Evaluation], other: Sequence[Evaluation]
) -> tuple[float, tuple[float, float] | None]:
    """Difference of two points, each with one evaluation a seed, and its interval; that is None
    where only scores are known."""
    if any(one.answers is None for one in (*winner, *other)):
        return _mean(winner) - _mean(other), None
    from ablate.stats.bootstrap import compare  # numpy: only when there is something to decide

    a, b = ([one.rows() for one in seeds] for seeds in (winner, other))
    interval = compare(a, b, DRAWS)
    return interval.estimate, (interval.low, interval.high)
