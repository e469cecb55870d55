"""A package of another author with the strategy of docs/extending.md, and scores without steps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.design import Candidate
from ablate.store.results import Evaluation, Failure
from ablate.store.steps import Step

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## A search strategy")[2]
(BACKWARD,) = re.findall(r"^```python\n(.*?)^```$", SECTION.partition("\n## ")[0], re.M | re.S)


def install(site: Path, *changes: tuple[str, str], module: str = "their_strategies") -> None:
    """Put a package with the strategy `backward` into `site`, parts of its source replaced.

    Another `module` is another package: Python imports each name once.
    """
    source = BACKWARD
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    name = module.replace("_", "-")
    info, folder = site / f"{module}-0.1.dist-info", site / module
    for each in (info, folder):
        each.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    entries = f"[ablate.strategies]\nbackward = {module}.backward:Backward\n"
    (info / "entry_points.txt").write_text(entries)
    (folder / "__init__.py").write_text("")
    (folder / "backward.py").write_text(source)


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
