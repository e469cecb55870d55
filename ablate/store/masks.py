"""The step that scores one trained mixture with only some of its experts. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ablate.catalog import step_kinds
from ablate.files import read_json
from ablate.store.steps import Step

MASKED = "masked.json"
"""What it leaves: {"questions": [[task, id, image], ...], "masks": [{"kept": [numbers], "scores":
[...], "weights": [...], "answers": [...]}, ...]}, the mask that keeps all first."""
WAYS = ("zeros", "mean")
"""What takes the place of the features of an expert that is masked: zeros, or their mean over a
benchmark's images."""
ALL_SUBSETS = 5
"""Experts up to which every subset is scored; of more all, all but one or two, and each alone."""


def mask_step(evaluation: Step, way: str) -> Step:
    """Of the mixture that `evaluation` scores, on the same questions."""
    [trained] = evaluation.trained_parents.values()
    spec: dict[str, Any] = {
        "suite": evaluation.spec["suite"],
        "way": way,
        "masks": masks(len(trained.spec["model"]["encoders"])),
    }
    return Step(step_kinds.MASK, evaluation.slug, spec, evaluation.parents)


def masks(experts: int) -> Sequence[Sequence[int]]:
    """The numbers of the experts that each mask keeps: all of them first, then the fewer the
    later."""
    sizes = list(range(experts, 0, -1))
    if experts > ALL_SUBSETS:
        sizes = [experts, experts - 1, experts - 2, 1]
    return [list(kept) for size in sizes for kept in combinations(range(experts), size)]


@dataclass(frozen=True, eq=False)
class MaskedRun:
    """What a finished step found: of each mask the experts it keeps, by number, and the score
    (0..1) and weight of each question, which are of a task, with an id, about an image."""

    way: str
    experts: Sequence[str]
    questions: Sequence[tuple[str, str, str]]
    kept: Sequence[tuple[int, ...]]
    scores: Sequence[Sequence[float]]
    weights: Sequence[Sequence[float]]
    seconds: float

    @classmethod
    def load(cls, step: Step, folder: Path, record: Mapping[str, Any]) -> "MaskedRun":
        """From what the step has left in the store."""
        written = read_json(folder / MASKED)
        [trained] = step.trained_parents.values()
        encoders = trained.spec["model"]["encoders"]
        return cls(
            step.spec["way"],
            [f"{encoder['name']}@{encoder['resolution']}" for encoder in encoders],
            [(task, name, image) for task, name, image in written["questions"]],
            [tuple(mask["kept"]) for mask in written["masks"]],
            [mask["scores"] for mask in written["masks"]],
            [mask["weights"] for mask in written["masks"]],
            float(record["seconds"]),
        )
