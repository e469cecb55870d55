"""Leaves candidates out of a round before they train, by what their frozen encoders see.

The numbers follow from features that steps of their own have made, so that a search with a sieve
is a function of the store as any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from ablate.config.study import Study
from ablate.errors import UserError, nearest
from ablate.store.artifacts import Store
from ablate.store.results import Evaluation, Lookup
from ablate.store.steps import Step
from ablate.strategies import Round, Sieve, Trial

WHERE = "explore.filter"
Mixtures = Mapping[str, Sequence[str]]
"""The encoders of each point."""


def features_of(study: Study) -> dict[str, Step]:
    """The steps that a study with a sieve waits for, none without one: the features of each of its
    encoders, by title, and under "" what the language model makes of the texts.

    Raises UserError for a proxy that there is not, or that asks for more than features.
    """
    if not (sieve := study.strategy.sieve):
        return {}
    from ablate import proxies  # numpy: only where there is a sieve

    known = [name for name in proxies.names() if proxies.find(name).of_features]
    if sieve.proxy not in known:
        said = f"no proxy '{sieve.proxy}' that needs features alone"
        raise UserError(f"{WHERE}: {said}{nearest(sieve.proxy, known)}")
    return _steps(study)


def _steps(study: Study) -> dict[str, Step]:
    from ablate.proxies.steps import features_step

    return {title: features_step(study, title) for title in ("", *study.shelf)}


def numbers(study: Study, sieve: Sieve, points: Mixtures, store: Store) -> dict[str, float] | None:
    """What the proxy says of mixtures of the study, the best first; None while features are not
    there."""
    steps = _steps(study)
    if any(store.record(step) is None for step in steps.values()):
        return None
    folders = tuple((title, store.folder(step)) for title, step in steps.items())
    mixtures = tuple((point, tuple(encoders)) for point, encoders in points.items())
    said = _told(sieve.proxy, folders, mixtures)
    return dict(sorted(said.items(), key=lambda one: (-one[1], one[0])))


@lru_cache
def _told(
    proxy: str,
    folders: tuple[tuple[str, Path], ...],
    points: tuple[tuple[str, tuple[str, ...]], ...],
) -> dict[str, float]:
    """Asked again with every look at the store; what a folder holds is in its name."""
    from ablate import proxies
    from ablate.proxies.steps import Seen

    eyes = dict(folders)
    reader = eyes.pop("")
    seen, found = Seen.load(eyes, reader), proxies.find(proxy)
    said: dict[str, float] = {}
    for point, encoders in points:
        number = found.score(seen.of(encoders))
        if number is None:
            raise UserError(f"{WHERE}: {proxy} cannot tell anything of {point}")
        said[point] = number
    return said


def mixtures(trials: Mapping[str, Trial]) -> Mixtures:
    """Of what a turn would try."""
    return {point: trial.design.encoders for point, trial in trials.items()}


UNKNOWN = "what it may cost is not known"


def risk(sieve: Sieve, other: Study, turns: Iterable[Round], results: Lookup, store: Store) -> str:
    """In how many of another study's rounds the best would have stayed, in a sentence.

    Of rounds whose candidates are all scored in full, and more than the sieve keeps.
    """
    asked, stayed, lost = 0, 0, 0.0
    for turn in turns:
        scores = _scores(turn, results)
        if len(scores) > sieve.keep:
            points = {one.point: one.encoders for one in turn.candidates}
            order = numbers(other, sieve, points, store)
            if order is None:
                return f"{UNKNOWN}: {other.name} has no features yet; `ablate proxy` makes them"
            behind = max(scores.values()) - max(scores[one] for one in [*order][: sieve.keep])
            asked, stayed, lost = asked + 1, stayed + (behind == 0.0), max(lost, behind)
    if not asked:
        return f"{UNKNOWN}: {other.name} has no such round with all its scores"
    worst = f", and it cost {lost:.1f} points at most" if lost else ""
    return f"in {stayed} of {asked} rounds of {other.name} it would have kept the best{worst}"


def _scores(turn: Round, results: Lookup) -> dict[str, float]:
    """Mean composites of the round's points; none unless all its candidates are scored in full."""
    scores: dict[str, list[float]] = {}
    for one in turn.candidates:
        ended = results.result(one)
        if not isinstance(ended, Evaluation) or not one.fidelity.is_whole:
            return {}
        scores.setdefault(one.point, []).append(ended.composite)
    return {point: sum(runs) / len(runs) for point, runs in scores.items()}
