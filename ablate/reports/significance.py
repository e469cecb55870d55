"""Which differences of a study are more than chance, all of its comparisons taken together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from ablate.humanize import percent
from ablate.reports.frame import LEAST_P, ends, estimate, framed, of_these_runs
from ablate.reports.model import CandidateResult, RoundResult, StudyResult, best_first
from ablate.reports.scoreboard import Scoreboard
from ablate.stats.intervals import Interval
from ablate.stats.significance import ALPHA, SplitHalf, detectable, holm

Compared = tuple[Interval | None, float | None]
"""A difference and its corrected p; None where there is nothing to compare."""


def significance(study: StudyResult) -> pd.DataFrame:
    """A row a scored candidate, round by round, the best first.

    `delta`: against what it is held against, `p` corrected over the candidates of the round (or the
    arms). `behind` and `p_best`: see `behind`; `mark`: see `standing`.
    """
    rows, gaps = [], behind(study)
    for turn in study.rounds:
        scored = [candidate for candidate in best_first(turn.candidates) if candidate.answered]
        deltas = differences(
            study, [(candidate, study.reference(candidate)) for candidate in scored]
        )
        for candidate, (delta, p) in zip(scored, deltas, strict=True):
            gap, p_best = gaps[candidate]
            rows.append(
                {
                    **({"round": turn.number} if study.strategy.goes_on else {}),
                    "candidate": candidate.name,
                    "mark": standing(study, candidate),
                    "score": candidate.composite,
                    **ends("score", study.scoreboard.score(candidate)),
                    **estimate("delta", delta),
                    "p": p,
                    **estimate("behind", gap),
                    "p_best": p_best,
                }
            )
    frame = framed(rows, ["candidate", "mark", "score", "delta", "p", "behind", "p_best"])
    return of_these_runs(frame) if study.scoreboard.noise is None else frame


@lru_cache(maxsize=1)
def behind(study: StudyResult) -> Mapping[CandidateResult, Compared]:
    """Each scored candidate less the best of its round (or arm), and the p of being as good.

    The p holds that the best was chosen from the same answers (see `Draws.behind_best`). Of the
    best itself both are None.
    """
    compared: dict[CandidateResult, Compared] = {}
    board = study.scoreboard
    for turn in study.rounds:
        scored = [candidate for candidate in best_first(turn.candidates) if candidate.answered]
        compared |= dict.fromkeys(scored[:1], (None, None))
        gaps = board.differences([(candidate, scored[0]) for candidate in scored[1:]])
        compared |= zip(
            scored[1:], zip(gaps, board.behind_best(scored)[1:], strict=True), strict=True
        )
    return compared


LOWER = "lower"
"""How a candidate stands that is lower in its one run, where training noise is not known."""


def standing(study: StudyResult, candidate: CandidateResult) -> str:
    """How a candidate stands in its round (or among the arms).

    `winner`, or `best` of arms and of a round that is not decided; `tie` where p does not tell it
    apart from that one; `lower` where it does, but training noise is not known; `failed`,
    `running`, `waiting`; else nothing.
    """
    if candidate.status != "done":
        return candidate.status
    if not candidate.answered:  # its answers are gone
        return ""
    gap, p = behind(study)[candidate]
    if gap is None or p is None:
        turn = next(turn for turn in study.rounds if candidate in turn.candidates)
        return "winner" if study.strategy.goes_on and turn.decision else "best"
    if p >= ALPHA:
        return "tie"
    return "" if study.scoreboard.is_clear(p) else LOWER


def differences(
    study: StudyResult, pairs: Sequence[tuple[CandidateResult, CandidateResult | None]]
) -> list[Compared]:
    """The first of each pair minus the second, and its p, corrected over all of the pairs."""
    deltas = study.scoreboard.differences(pairs)
    corrected = holm([delta.p if delta else np.nan for delta in deltas])
    return [
        (delta, None if np.isnan(p) else float(p))
        for delta, p in zip(deltas, corrected, strict=True)
    ]


def notes(study: StudyResult) -> list[str]:
    """How to read `significance`, and what this suite can see at all."""
    lines = [
        "Values of p are two-sided, corrected by Holm's method over the candidates of a round; "
        "p of the best is that of being as good as the round's best, which was chosen from the "
        f"same answers; those below {LEAST_P} stand as {LEAST_P}. A tie is a candidate that is not "
        "told apart from the round's best.",
        *covered(study.scoreboard),
    ]
    if smallest := detectable_difference(study):
        asked, images = len(study.scoreboard.questions), study.scoreboard.sample.images
        with_ = f"With {asked:,} questions on {images:,} images"
        runs = "" if study.scoreboard.noise else " of these runs"
        lines.append(
            f"{with_}, a true difference of {smallest:.1f} points is seen (an interval without "
            f"zero, one comparison) in 80 % of studies{runs}, a smaller one less often."
            if smallest < WHOLE
            else f"{with_}, not even a true difference of {WHOLE:.0f} points is sure to be seen."
        )
    again = chosen_again(study)
    lines += [_curse(study, turn, halves) for turn, halves in again]
    if again:
        lines.append(
            "Both halves are answered by the same runs: how another run chooses is not in."
        )
    return [*lines, *unread(study)]


def below(study: StudyResult) -> list[str]:
    """What stands below every table of a study: what its intervals cover, which answers count."""
    return [*covered(study.scoreboard), *unread(study)]


def marks(study: StudyResult) -> list[str]:
    """What stands below a table with standings, where one of them does not speak for itself."""
    standings = {standing(study, candidate) for candidate in study.candidates}
    meaning = "Lower: below the best by more than the choice of questions explains, in this run."
    return [meaning] if LOWER in standings else []


def covered(board: Scoreboard) -> list[str]:
    """What the intervals cover, in sentences; none where nothing is scored."""
    if not board.candidates:
        return []
    noise, sizes = board.noise, board.sizes
    if noise is None:
        return [ONE_RUN]
    each = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
    runs = (
        "One training run each" if sizes[-1] == 1 else f"Scores are means over seeds, {each} each"
    )
    sentence = (
        f"{runs}; intervals are 95 %, over the choice of questions and training noise: a score's "
        "holds what as many runs with other seeds would score. "
        f"Training noise is {noise.deviation:.1f} points a run (standard deviation of the mean, "
        f"{_several(noise.freedom, 'degree')} of freedom, from "
        f"{_several(noise.candidates, 'candidate')} trained repeatedly with this recipe and suite)."
    )
    if left := [task for task in board.tasks if not board.measured(task)]:
        several = "single benchmarks" if len(left) == len(board.tasks) else ", ".join(left)
        sentence += (
            f" Of {several} nobody has measured it: their intervals leave training noise out."
        )
    return [sentence]


def _several(count: float, what: str) -> str:
    return f"{count:.0f} {what}{'' if count == 1 else 's'}"


WHOLE = 100.0
"""Points of the whole scale: no difference is larger."""
ONE_RUN = (
    "One training run each, and nobody has measured training noise of this recipe on this suite: "
    "intervals are 95 %, over the choice of questions; they and p are of this run and leave "
    "training noise out, so another seed or machine may turn a difference."
)
"""What intervals cover where training noise is not known."""


def unread(study: StudyResult, of: CandidateResult | None = None) -> list[str]:
    """Whose answers a scorer could not read (`of` one or all); none where it read them all."""
    several = [each for each in ([of] if of else study.candidates) if any(each.unread.values())]
    if not several:
        return []
    counts = Counter(task for task, _ in study.scoreboard.questions)
    rows = [
        (title, candidate.name, candidate.unread[task], len(candidate.runs) * counts[task])
        for task, title in study.tasks.items()
        for candidate in several
        if candidate.unread.get(task)
    ]
    if not rows:
        return []
    rows.sort(key=lambda each: -each[2] / max(each[3], 1))
    shown = [f"{title} {count} of {asked} ({name})" for title, name, count, asked in rows[:MOST]]
    more = f" and {len(rows) - MOST} more" if len(rows) > MOST else ""
    return [
        "Answers that the scorer could not read (neither yes nor no, no option, or blank): "
        f"{', '.join(shown)}{more}. A score may rest on the few that it could."
    ]


MOST = 6
"""Cells named in a sentence."""


def detectable_difference(study: StudyResult) -> float | None:
    """The minimum detectable difference: what all of the study's comparisons can see."""
    pairs = [(candidate, study.reference(candidate)) for candidate in study.candidates]
    deltas = [delta for delta in study.scoreboard.differences(pairs) if delta]
    return max((float(detectable(delta)) for delta in deltas), default=None)


def chosen_again(study: StudyResult) -> list[tuple[RoundResult, SplitHalf]]:
    """Of each round with a choice, what it is worth on images that had no part in it."""
    choices = []
    for turn in (turn for turn in study.rounds if turn.candidates):
        reference = study.reference(turn.candidates[0]) if study.strategy.goes_on else study.base
        rivals = [candidate for candidate in turn.candidates if candidate is not reference]
        halves = study.scoreboard.halves(rivals, reference) if reference else None
        if halves:
            choices.append((turn, halves))
    return choices


def _curse(study: StudyResult, turn: RoundResult, halves: SplitHalf) -> str:
    where = f"Round {turn.number}" if study.strategy.goes_on else f"The best {study.strategy.noun}"
    return (
        f"{where}, chosen on one half of the images (many times): {halves.chosen:.1f} on that "
        f"half, {halves.held:.1f} on the other; its lead {halves.gain:+.1f} there, "
        f"{halves.held_gain:+.1f} on the other. "
        f"{percent(halves.again)} of the halves choose what the whole does."
    )
