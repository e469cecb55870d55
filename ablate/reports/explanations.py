"""Which answers of a candidate are explained, and what each is beside the base's.

The rule: against the base the first `MOST` questions that the candidate fixes, that it breaks, and
that both answer wrong; of the base itself those it answers wrong. Benchmarks take turns, so that
the first is not all there is, and no image comes twice in a kind while there are others.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from ablate.reports.flips import flipped
from ablate.reports.model import CandidateResult, StudyResult
from ablate.store.answers import Key

MOST = 4
FIXED, BROKEN, WRONG, RIGHT = "fixed", "broken", "wrong", "right"
RULE = (
    f"The first {MOST} of each kind, benchmarks in turn: what it fixes and breaks against the "
    "base, and what is wrong with both."
)


def questions(study: StudyResult, candidate: CandidateResult) -> dict[str, list[Key]]:
    """By kind the questions that are explained of the candidate."""
    board, base = study.scoreboard, study.base
    asked = board.weights(candidate) > 0
    wrong = asked & (board.right(candidate) < 0.5)
    kinds: dict[str, Iterable[Key]] = {}
    if candidate is not base:
        flips = flipped(board, base, candidate)
        kinds = {FIXED: flips.fixed, BROKEN: flips.broken}
        wrong &= board.right(base) < 0.5
    kinds[WRONG] = [board.questions[int(index)] for index in np.flatnonzero(wrong)]
    answers = board.runs[candidate][0]
    image_of = dict(zip(answers.questions, answers.images, strict=True))
    return {kind: _first(keys, image_of) for kind, keys in kinds.items()}


def kind_of(study: StudyResult, candidate: CandidateResult, key: Key) -> str:
    """What an answer of the candidate is beside the base's."""
    board = study.scoreboard
    index = board.questions.index(key)
    now = bool(board.right(candidate)[index] >= 0.5)
    then = bool(board.right(study.base)[index] >= 0.5)
    if now == then or candidate is study.base:
        return RIGHT if now else WRONG
    return FIXED if now else BROKEN


def _first(keys: Iterable[Key], image_of: Mapping[Key, str]) -> list[Key]:
    """`MOST` of them, tasks in turn; first those of images that no other is about."""
    seen: set[str] = set()
    turns: dict[str, int] = {}
    ranked = []
    for number, key in enumerate(keys):
        again = image_of[key] in seen
        seen.add(image_of[key])
        turn = turns.setdefault(f"{key[0]} {again}", 0)
        turns[f"{key[0]} {again}"] += 1
        ranked.append((again, turn, number, key))
    return [key for *_, key in sorted(ranked)[:MOST]]
