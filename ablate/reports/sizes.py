"""What each candidate is and took, as its steps recorded it: tokens, operations, speed, hours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ablate.catalog.step_kinds import EVALUATE
from ablate.reports.model import CandidateResult


@dataclass(frozen=True)
class Size:
    """A candidate's cost; None where no record tells.

    Of its model: `visual_tokens` an image becomes, `parameters` in all and `trainable` in its last
    stage, `vision_flops` an image takes before the language model. Of its training, by no
    clock: `training_flops`, the same for every image of every sample, forward. Measured:
    `tokens_per_second`, visual tokens read in evaluation; `device_hours` of all its steps. What is
    of all its steps is so of those too that it shares with others, a mean over its seeds.
    """

    visual_tokens: int | None
    parameters: int | None
    trainable: int | None
    vision_flops: int | None
    training_flops: float | None
    tokens_per_second: float | None
    device_hours: float | None


def size(candidate: CandidateResult) -> Size:
    """From the records of the candidate's steps."""
    trained, asked = (
        next((step.record.get("result") or {} for step in reversed(steps)), {})
        for steps in (
            candidate.last_stages,
            [step for step in candidate.steps if step.kind == EVALUATE],
        )
    )
    tokens, seconds = trained.get("visual_tokens"), asked.get("seconds_generate")
    answered = asked.get("questions", 0) - asked.get("taken_over", 0)
    spent = sum(step.device_seconds for step in candidate.steps) / 3600
    return Size(
        visual_tokens=tokens,
        parameters=trained.get("parameters"),
        trainable=trained.get("trainable"),
        vision_flops=trained.get("vision_flops"),
        training_flops=_training_flops(candidate),
        tokens_per_second=tokens * answered / seconds if tokens and seconds else None,
        device_hours=spent / len(candidate.config["seeds"]) if candidate.status == "done" else None,
    )


def _training_flops(candidate: CandidateResult) -> float | None:
    results = [step.record.get("result") or {} for step in candidate.steps if step.about.trains]
    if candidate.status != "done" or not all(result.get("vision_flops") for result in results):
        return None
    spent = sum(result["samples"] * result["vision_flops"] for result in results)
    return float(spent / len(candidate.config["seeds"]))


def pareto_front(
    scored: Sequence[CandidateResult],
    cost: Callable[[CandidateResult], float | None],
    more_is_better: bool = False,
) -> list[CandidateResult]:
    """Those that no other beats in score without costing more, by cost; unknown costs left out.

    `more_is_better`: of a speed.
    """
    sign = -1.0 if more_is_better else 1.0
    known = [
        (sign * (cost(candidate) or 0.0), candidate)
        for candidate in scored
        if cost(candidate) is not None
    ]
    known.sort(key=lambda pair: (pair[0], -(pair[1].composite or 0.0)))
    front: list[CandidateResult] = []
    for _, candidate in known:
        if not front or (candidate.composite or 0.0) > (front[-1].composite or 0.0):
            front.append(candidate)
    return front
