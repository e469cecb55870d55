"""Which differences of a study are more than chance, all of its comparisons taken together."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from ablate.reports.frame import LEAST_P, ends, estimate, framed
from ablate.reports.model import CandidateResult, RoundResult, StudyResult, best_first
from ablate.stats.bootstrap import Interval
from ablate.stats.significance import ALPHA, Halves, detectable, holm

Compared = tuple[Interval | None, float | None]
"""A difference and its corrected p; None where there is nothing to compare."""


def significance(study: StudyResult) -> pd.DataFrame:
    """A row a scored candidate, round by round, the best first.

    `delta`: against what it is held against, `p` corrected over the candidates of the round (or the
    arms). `behind` and `p_best`: see `behind`; `mark`: see `standing`.
    """
    rows, gaps = [], behind(study)
    for turn in study.rounds:
        scored = [one for one in best_first(turn.candidates) if one.answered]
        deltas = differences(study, [(one, study.reference(one)) for one in scored])
        for one, (delta, p) in zip(scored, deltas, strict=True):
            gap, p_best = gaps[one]
            rows.append(
                {
                    **({"round": turn.number} if study.kind == "rounds" else {}),
                    "candidate": one.name,
                    "mark": standing(study, one),
                    "score": one.composite,
                    **ends("score", study.scoreboard.score(one)),
                    **estimate("delta", delta),
                    "p": p,
                    **estimate("behind", gap),
                    "p_best": p_best,
                }
            )
    return framed(rows, ["candidate", "mark", "score", "delta", "p", "behind", "p_best"])


@lru_cache(maxsize=1)
def behind(study: StudyResult) -> Mapping[CandidateResult, Compared]:
    """Each scored candidate less the best of its round (or arm), the p corrected over them all.

    Of the best itself both are None.
    """
    found: dict[CandidateResult, Compared] = {}
    for turn in study.rounds:
        scored = [one for one in best_first(turn.candidates) if one.answered]
        found |= dict.fromkeys(scored[:1], (None, None))
        found |= zip(
            scored[1:], differences(study, [(one, scored[0]) for one in scored[1:]]), strict=True
        )
    return found


def standing(study: StudyResult, one: CandidateResult) -> str:
    """How a candidate stands in its round (or among the arms).

    `winner`, or `best` of arms and of a round that is not decided; `tie` where the corrected p does
    not tell it apart from that one; `failed`, `running`, `waiting`; else nothing.
    """
    if one.status != "done":
        return one.status
    gap, p = behind(study)[one]
    if gap is None or p is None:
        turn = next(turn for turn in study.rounds if one in turn.candidates)
        return "winner" if study.kind == "rounds" and turn.decision else "best"
    return "tie" if p >= ALPHA else ""


def differences(
    study: StudyResult, pairs: Sequence[tuple[CandidateResult, CandidateResult | None]]
) -> list[Compared]:
    """The first of each pair minus the second, and its p, corrected over all of the pairs."""
    found = study.scoreboard.differences(pairs)
    corrected = holm([one.p if one else np.nan for one in found])
    return [
        (one, None if np.isnan(p) else float(p)) for one, p in zip(found, corrected, strict=True)
    ]


def notes(study: StudyResult) -> list[str]:
    """How to read `significance`, and what this suite can see at all."""
    lines = [
        "Values of p are two-sided, corrected by Holm's method over the candidates of a round; "
        f"those below {LEAST_P} stand as {LEAST_P}. A tie is a candidate that is not told apart "
        "from the round's best.",
        covered(study),
    ]
    if found := detectable_difference(study):
        asked, images = len(study.scoreboard.questions), study.scoreboard.sample.images
        lines.append(
            f"With {asked:,} questions on {images:,} images, a true difference of {found:.1f} "
            "points is seen (p below 0.05, one comparison) in 80 % of studies, a smaller one less "
            "often."
        )
    return [*lines, *(_curse(study, turn, found) for turn, found in chosen_again(study))]


def covered(study: StudyResult) -> str:
    """What the intervals cover, in a sentence."""
    runs = len(study.base.config["seeds"])
    if runs > 1:
        return (
            f"Scores are means over seeds, {runs} each; intervals are 95 %, over the choice of "
            "questions and of the seed."
        )
    return (
        "One training run each: intervals are 95 %, over the choice of questions, not of the seed."
    )


def detectable_difference(study: StudyResult) -> float | None:
    """The minimum detectable difference of the suite: the median over the study's comparisons."""
    pairs = [(one, study.reference(one)) for one in study.candidates]
    deltas = [one for one in study.scoreboard.differences(pairs) if one and one.error]
    if not deltas:
        return None
    return float(np.median([detectable(one.error, one.freedom) for one in deltas]))


def chosen_again(study: StudyResult) -> list[tuple[RoundResult, Halves]]:
    """Of each round with a choice, what it is worth on images that had no part in it."""
    found = []
    for turn in study.rounds:
        reference = study.base if study.kind == "arms" else study.reference(turn.candidates[0])
        rivals = [one for one in turn.candidates if one is not reference]
        halves = study.scoreboard.halves(rivals, reference) if reference else None
        if halves:
            found.append((turn, halves))
    return found


def _curse(study: StudyResult, turn: RoundResult, found: Halves) -> str:
    where = f"Round {turn.number}" if study.kind == "rounds" else "The best arm"
    return (
        f"{where}, chosen on one half of the images (many times): {found.chosen:.1f} on that half, "
        f"{found.held:.1f} on the other; its gain {found.gain:+.1f} there, {found.held_gain:+.1f} "
        f"on the other. {found.again:.0%} of the halves choose what the whole does."
    )
