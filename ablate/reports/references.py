"""References beside a study's candidates: rows set apart, which win nothing and decide nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from ablate.reports.formats import number
from ablate.reports.frame import ends, framed
from ablate.stats.intervals import Interval

if TYPE_CHECKING:
    from ablate.reports.model import StudyResult


@dataclass(frozen=True)
class ReferenceResult:
    """A closed or finished model, or published numbers of one.

    `words`: what it is; `scores`: 0..100 by task, of which published ones may lack some, and
    `composite` their mean where none lacks; `interval`: over the choice of questions, None where
    that is not known. `status` is that of its step, `failure` why that failed, in a line;
    `answered`: the days of its first and last answers.
    """

    name: str
    words: str
    published: bool
    scores: Mapping[str, float] = field(default_factory=dict)
    composite: float | None = None
    interval: Interval | None = None
    status: str = "done"
    failure: str = ""
    answered: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """Where its numbers are from and of when, or why there are none."""
        if self.failure:
            return f"{self.words}; failed: {self.failure}"
        if self.status != "done":
            return f"{self.words}; not scored yet ({self.status})"
        days = " to ".join(dict.fromkeys(self.answered))
        return self.words + f"; answered {days}" * bool(days)


def references(study: "StudyResult") -> pd.DataFrame:
    """A row a reference: score, with its interval where one is known, each task, and the source."""
    rows = [
        {
            "reference": reference.name,
            "score": reference.composite,
            **ends("score", reference.interval),
            **{title: reference.scores.get(task) for task, title in study.tasks.items()},
            "note": reference.remark,
        }
        for reference in study.references
    ]
    return framed(rows, ["reference", "score", "note"])


def lines(study: "StudyResult") -> list[str]:
    """The same in words, for below a table of candidates."""
    return [_line(study, reference) for reference in study.references]


CAPTION = "References, set apart: not trained here, and never chosen"


def _line(study: "StudyResult", reference: ReferenceResult) -> str:
    tasks = [
        f"{title} {number(reference.scores[task], title)}"
        for task, title in study.tasks.items()
        if task in reference.scores
    ]
    score = ""
    if reference.composite is not None:
        score = number(reference.composite, "score")
        if known := reference.interval:
            score += f" [{number(known.low, 'score')}, {number(known.high, 'score')}]"
    numbers = ": ".join(filter(None, [score, ", ".join(tasks)])) or "no score"
    return f"Reference, set apart: {reference.name}: {numbers} ({reference.remark})."


def unlike(reference: ReferenceResult) -> str:
    """What of it is not like for like."""
    if reference.published:
        return (
            "published numbers: trained on other data by another recipe, and asked and scored as "
            "its source did, which may be other questions, prompts or scorers; no interval is known"
        )
    return (
        "asked and scored as the candidates are, but trained on other data by another recipe, and "
        "maybe on these benchmarks; its own prompt template and sizes of images"
    )
