"""The strategy of docs/extending/strategy.md as another package, and scores without steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packages import install_package, replaced, shown

from ablate.config.study import Study
from ablate.design import Candidate
from ablate.search.explore import rounds_so_far
from ablate.store.results import Evaluation, Failure
from ablate.store.steps import Step
from ablate.strategies import Round


def install(site: Path, *changes: tuple[str, str], module: str = "their_strategies") -> None:
    """Put a package with the strategy `backward` into `site`, parts of its source replaced.

    Another `module` is another package: Python imports each name once.
    """
    source = replaced(shown("strategy", "python"), *changes)
    offers = {"ablate.strategies": {"backward": f"{module}.backward:Backward"}}
    install_package(site, module, {"backward": source}, offers)


class Scored(Evaluation):
    """One whose answers are on no disk: of a hundred so many are right."""

    def rows(self) -> list[dict[str, Any]]:
        rows = [{"task": "t", "id": f"{n}", "image": f"{n}", "weight": 1.0} for n in range(100)]
        return [{**row, "score": float(n < self.composite)} for n, row in enumerate(rows)]


@dataclass
class Scores:
    """A `Lookup` of composites by candidate; a word is the reason of a failure."""

    known: dict[str, float | str] = field(default_factory=dict)
    decisions: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    home: None = None

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        score = self.known.get(candidate.name)
        if score is None:
            return None
        if isinstance(score, str):
            return Failure(Step("finetune", "x", {}), score)
        return Scored(f"key of {candidate.name} at {score}", {"t": score}, score, "")

    def decision(self, number: int) -> dict[str, Any] | None:
        found = self.decisions.get(number)
        return None if found is None else dict(found)


def played(
    study: Study, score: Callable[[Candidate], float | str], scores: Scores | None = None
) -> list[Round]:
    """The whole search, each candidate scored once it is proposed for certain."""
    scores = Scores() if scores is None else scores
    while True:
        turns = rounds_so_far(study, scores)
        asked = [one for turn in turns if not turn.provisional for one in turn.candidates]
        new = [one for one in asked if one.name not in scores.known]
        if not new:
            return turns
        scores.known |= {one.name: score(one) for one in new}
