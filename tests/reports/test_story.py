"""The sentences of a report claim no more than all comparisons together allow."""

from collections.abc import Sequence
from pathlib import Path

from ablate.reports import story, tables
from ablate.reports.answers import Answers
from ablate.reports.model import CandidateResult, RoundResult, StepResult, StudyResult
from ablate.reports.significance import standing

IMAGES = 100
BASE = range(40)
"""Which images the base is right about."""
LUCKY = range(3, 52)
"""12 more, 3 less: p = 0.02 by itself, 0.06 as one of three."""


def candidate(name: str, right: Sequence[int], turn: int = 1) -> CandidateResult:
    """One that answered a question an image."""
    rows = tuple(
        {
            "task": "abl_ocr",
            "id": str(image),
            "image": f"{image}.png",
            "score": float(image in right),
            "weight": 1.0,
        }
        for image in range(IMAGES)
    )
    score = 100.0 * len(right) / IMAGES
    return CandidateResult(
        name=name,
        round=turn,
        encoders=("clip-micro@32",),
        fusion="channel_concat",
        config={"seeds": [0]},
        steps=(StepResult("evaluate", name, name, name, "done"),),
        scores={"abl_ocr": score},
        seed_scores=(score,),
        runs=(Answers.of(rows),),
    )


def study(kind: str, *rounds: RoundResult) -> StudyResult:
    """A study of these rounds, all of them done; a round's first candidate was chosen."""
    return StudyResult(
        name="small",
        title="Small",
        question="",
        kind=kind,
        axis=kind,
        suite="micro",
        tasks={"abl_ocr": "OCR"},
        planned_rounds=len(rounds),
        base_name=rounds[0].candidates[0].name,
        rounds=rounds,
        home=Path(),
    )


def arms(*candidates: CandidateResult) -> StudyResult:
    return study("arms", RoundResult(1, candidates))


def test_a_gain_that_chance_may_give_the_best_of_several_is_no_certainty() -> None:
    base, lucky = candidate("base", BASE), candidate("lucky", LUCKY)
    alone = arms(base, lucky)
    gain = alone.scoreboard.difference(lucky, base)
    assert gain is not None
    assert not gain.tie
    assert "more than the choice of test questions can explain" in story.tell(alone).answer
    several = arms(base, lucky, candidate("same", BASE), candidate("other", range(1, 41)))
    assert "no more than chance may give the best of 3 candidates" in story.tell(several).answer


def test_a_round_s_gain_is_corrected_over_the_candidates_of_the_round() -> None:
    base, lucky = candidate("base", BASE), candidate("lucky", LUCKY, 2)
    rivals = candidate("same", BASE, 2), candidate("other", range(1, 41), 2)

    def told(*second: CandidateResult) -> str:
        rounds = [
            RoundResult(number, made, {"winner": made[0].name, "runner_up": None})
            for number, made in enumerate([(base,), second], start=1)
        ]
        return story.tell(study("rounds", *rounds)).certainty[0]

    assert told(lucky).endswith(": a gain.")
    assert told(lucky, *rivals).endswith(": no difference it can tell.")


def test_arms_that_score_the_same_are_said_to_be_a_tie() -> None:
    found = arms(candidate("a", BASE), candidate("b", range(5, 45)), candidate("c", BASE))
    assert story.tell(found).answer.endswith("a tie with 2 others: nothing tried beats the base.")
    assert [standing(found, one) for one in found.candidates] == ["best", "tie", "tie"]


def test_every_table_marks_the_same_ties() -> None:
    one, several, poor = range(60), range(10, 66), range(5)
    found = arms(candidate("a", BASE), *map(candidate, "bcd", (one, several, poor)))
    sure, main = (table(found).set_index("candidate")["mark"] for table in EVERY)
    assert dict(sure) == dict(main) == {"a": "", "b": "best", "c": "tie", "d": ""}


EVERY = (tables.significance, tables.comparison)
