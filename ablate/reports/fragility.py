"""How fragile a study's choices are: what other benchmarks would have chosen, by the scores alone.

The same is told of the published table that a study repeats: its search is replayed over the
published cells (see `search.replay`), for which nothing need have been trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from ablate.errors import UserError
from ablate.humanize import percent
from ablate.reports.frame import framed
from ablate.reports.model import Contest, StudyResult
from ablate.stats.fragility import Choice, Fragility
from ablate.stats.fragility import fragility as resampled


def fragility(study: StudyResult, paper: bool = False) -> pd.DataFrame:
    """A row a candidate of each decided round (or an arm), the best first; `paper`: as published.

    `wins`: percent of resamples of the benchmarks in which it would have been chosen; `without`:
    the benchmarks without any one of which it would have been, in place of the one that was;
    `above`: percent in which it is above what it is held against, the winner of the round before or
    the base arm. Raises UserError where nothing published can be chosen from.
    """
    rows = []
    for turn in _resampled_choices(study, paper).turns:
        for rival in turn.ranked:
            won = rival == turn.fragility.winner
            rows.append(
                {
                    **({"round": turn.number} if study.strategy.goes_on else {}),
                    "candidate": turn.rivals[rival],
                    "mark": ("winner" if study.strategy.goes_on else "best") if won else "",
                    "score": turn.means[rival],
                    "wins": 100.0 * turn.fragility.wins[rival],
                    "without": "" if won else ", ".join(turn.without(rival)),
                    "above": 100.0 * turn.fragility.above[rival],
                }
            )
    return framed(rows, ["candidate", "mark", "score", "wins", "without", "above"])


def labels(study: StudyResult, paper: bool = False) -> list[str]:
    """What the rows of `fragility` are called in short: in a search, what each adds."""
    return [
        turn.labels[rival]
        for turn in _resampled_choices(study, paper).turns
        for rival in turn.ranked
    ]


def notes(study: StudyResult, paper: bool = False) -> list[str]:
    """What is fragile, in sentences, and what it says nothing of."""
    choices = _resampled_choices(study, paper)
    open_ones = [turn for turn in choices.turns if len(turn.rivals) > 1]
    if not open_ones:
        return ["Nothing was chosen yet between several candidates."]
    lines = [_sentence(study, turn) for turn in open_ones]
    if study.strategy.goes_on and len(open_ones) > 1:
        lines.append(
            f"{percent(choices.kept)} of the resamples make every choice of the path as it was "
            "made."
        )
    return [
        *lines,
        f"Benchmarks are what is resampled here, {choices.draws:,} times, each counted as often as "
        "it is drawn; the choice of questions and training noise come on top.",
    ]


def caption(study: StudyResult, paper: bool = False) -> str:
    """The title of the table."""
    of = f" in {study.published_source}" if paper else ""
    return f"{study.title}: how much each choice hangs on which benchmarks were asked{of}"


@dataclass(frozen=True)
class _Turn:
    """A choice with what comes of it; rivals by name, as equal ones are decided."""

    number: int
    rivals: list[str]
    labels: list[str]
    means: list[float]
    titles: list[str]
    fragility: Fragility

    @property
    def ranked(self) -> list[int]:
        """The rivals, the best first."""
        return sorted(range(len(self.rivals)), key=lambda n: (-self.means[n], n))

    def without(self, rival: int) -> list[str]:
        """The benchmarks without any one of which that rival would be chosen."""
        chosen = zip(self.titles, self.fragility.without, strict=False)
        return [title for title, winner in chosen if winner == rival]


@dataclass(frozen=True)
class _ResampledChoices:
    turns: list[_Turn]
    kept: float = 1.0
    draws: int = 0


@lru_cache(maxsize=2)
def _resampled_choices(study: StudyResult, paper: bool) -> _ResampledChoices:
    """Every choice, resampled together."""
    choices = study.published_choices if paper else study.choices
    if paper and not choices:
        raise UserError(study.published_source)
    if not choices:
        return _ResampledChoices([])
    places: dict[tuple[int, str], int] = {}
    for turn in choices:
        for name in sorted(turn.scores):
            places[turn.number, name] = len(places)
    tasks = list(next(iter(choices[0].scores.values())))
    named = {turn.number: turn.scores for turn in choices}
    path = resampled(
        [[named[number][name][task] for task in tasks] for number, name in places],
        [_choice(study, turns, places) for turns in zip(choices, (None, *choices), strict=False)],
    )
    titles, turns = [study.tasks[task] for task in tasks], []
    before: Sequence[str] | None = None
    for turn, fragility in zip(choices, path.choices, strict=True):
        rivals = sorted(turn.scores)
        labels = [study.strategy.label(name, turn.encoders[name], before) for name in rivals]
        means = [sum(turn.scores[name].values()) / len(tasks) for name in rivals]
        turns.append(_Turn(turn.number, rivals, labels, means, titles, fragility))
        before = turn.encoders[turn.winner] if study.strategy.goes_on else None
    return _ResampledChoices(turns, path.kept, path.draws)


def _choice(
    study: StudyResult, turns: tuple[Contest, Contest | None], places: Mapping[tuple[int, str], int]
) -> Choice:
    """The choice by rows of the scores, after the one before it; see `StudyResult.reference`."""
    turn, before = turns
    against = before and (before.number, before.winner)
    if not study.strategy.goes_on:
        against = turn.number, study.base_name
    rivals = [(turn.number, name) for name in sorted(turn.scores)]
    held = [places.get(against) if against and against != rival else None for rival in rivals]
    return Choice([places[rival] for rival in rivals], held)


def _sentence(study: StudyResult, turn: _Turn) -> str:
    """By how much a choice was made, and what else would have been chosen."""
    won, second = turn.fragility.winner, next(n for n in turn.ranked if n != turn.fragility.winner)
    sentence = (
        f"{f'Round {turn.number}' if study.strategy.goes_on else 'The best'}: {turn.labels[won]}, "
        f"{turn.means[won]:.2f} against {turn.means[second]:.2f} of {turn.labels[second]}. "
        f"{percent(turn.fragility.wins[won], 1)} of resamples of the benchmarks choose it"
    )
    others = [n for n in turn.ranked if n != won and turn.without(n)]
    changes = [f"without {_any_of(turn.without(n))} it is {turn.labels[n]}" for n in others]
    sentence += f"; {'; '.join(changes)}" if changes else "; leaving out any one changes nothing"
    if not np.isnan(above := turn.fragility.above[won]):
        sentence += f". It is above what it is held against in {percent(above, 1)}"
    return f"{sentence}."


def _any_of(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"any one of {', '.join(titles)}"
