"""Leaves candidates out of a round before they train, by what their frozen encoders see.

The numbers follow from features that steps of their own have made, so that a search with a sieve
is a function of the store as any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from ablate.config.study import Study, load_study
from ablate.errors import UserError
from ablate.store.artifacts import Store
from ablate.store.results import Evaluation, Lookup
from ablate.store.steps import Step
from ablate.strategies import Round, Sieve

WHERE = "explore.filter"
UNKNOWN = "what it may cost is not known"


def features_of(study: Study) -> dict[str, Step]:
    """The steps that a study with a sieve waits for, none without one: the features of each of its
    encoders, by title, and under "" what the language model makes of the texts.

    Raises UserError for a proxy that there is not, or that asks for more than features, and for a
    study that its risk cannot be measured on.
    """
    if not (sieve := study.strategy.sieve):
        return {}
    from ablate import proxies  # numpy: only where there is a sieve

    if not proxies.find(sieve.proxy).of_features:
        known = (name for name in proxies.names() if proxies.find(name).of_features)
        message = f"{sieve.proxy} is known after training only; choose one of {', '.join(known)}"
        raise UserError(f"{WHERE}: {message}")
    measured_on(sieve)
    return _steps(study)


def measured_on(sieve: Sieve) -> Study | None:
    """The study that tells the sieve's risk, if it names one. UserError for one that sieves, too:
    what that left out nobody knows."""
    if sieve.measured_on is None:
        return None
    other = load_study(sieve.measured_on)
    if other.strategy.sieve:
        raise UserError(f"{WHERE}.measured_on: {other.name} has a filter itself")
    return other


def _steps(study: Study) -> dict[str, Step]:
    from ablate.proxies import features_step

    return {title: features_step(study, title) for title in ("", *study.shelf)}


def numbers(
    study: Study, sieve: Sieve, mixtures: Mapping[str, Sequence[str]], store: Store
) -> dict[str, float] | None:
    """What the proxy says of each point, the best first; None while features are not there.

    `mixtures`: the encoders of each point.
    """
    steps = _steps(study)
    if any(store.record(step) is None for step in steps.values()):
        return None
    folders = tuple((title, store.folder(step)) for title, step in steps.items())
    ranked = _numbers(sieve.proxy, folders, tuple(mixtures.items()))
    return dict(sorted(ranked.items(), key=lambda pair: (-pair[1], pair[0])))


@lru_cache
def _numbers(
    proxy: str,
    folders: tuple[tuple[str, Path], ...],
    mixtures: tuple[tuple[str, Sequence[str]], ...],
) -> dict[str, float]:
    """Asked again with every look at the store; what a folder holds is in its name."""
    from ablate import proxies

    eyes = dict(folders)
    reader = eyes.pop("")
    seen = proxies.Seen.load(eyes, reader)
    numbers_by_point: dict[str, float] = {}
    for point, encoders in mixtures:
        number = proxies.score(proxy, seen.of(encoders))
        if number is None:
            raise UserError(f"{WHERE}: {proxy} cannot tell anything of {point}")
        numbers_by_point[point] = number
    return numbers_by_point


def risk(sieve: Sieve, other: Study, turns: Iterable[Round], results: Lookup, store: Store) -> str:
    """In how many of another study's rounds the best would have stayed, in a sentence.

    Of rounds whose candidates are all scored in full, and more than the sieve keeps.
    """
    asked, stayed, lost = 0, 0, 0.0
    for turn in turns:
        scores = _scores(turn, results)
        if len(scores) > sieve.keep:
            points = {candidate.point: candidate.encoders for candidate in turn.candidates}
            order = numbers(other, sieve, points, store)
            if order is None:
                return f"{UNKNOWN}: {other.name} has no features yet; `ablate proxy` makes them"
            behind = max(scores.values()) - max(scores[point] for point in [*order][: sieve.keep])
            asked, stayed, lost = asked + 1, stayed + (behind == 0.0), max(lost, behind)
    if not asked:
        return f"{UNKNOWN}: {other.name} has no such round with all its scores"
    worst = f", and it cost {lost:.1f} points at most" if lost else ""
    return f"in {stayed} of {asked} rounds of {other.name} it would have kept the best{worst}"


def _scores(turn: Round, results: Lookup) -> dict[str, float]:
    """Mean composites of the round's points; none unless all its candidates are scored in full."""
    scores: dict[str, list[float]] = {}
    for candidate in turn.candidates:
        ended = results.result(candidate)
        if not isinstance(ended, Evaluation) or not candidate.fidelity.is_whole:
            return {}
        scores.setdefault(candidate.point, []).append(ended.composite)
    return {point: sum(runs) / len(runs) for point, runs in scores.items()}
