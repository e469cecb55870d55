"""A user's own questions as a benchmark: what a study says of them. Imports no torch.

They are conversations in LLaVA's format (`ablate.data.readers`), held out of training: each answer
in them is the truth of the turn before it, asked with the row's images and nothing else of the row.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator

from ablate.catalog.data_fingerprint import digest
from ablate.catalog.metric_readers import READERS
from ablate.errors import nearest
from ablate.files import sha256_json
from ablate.parsing.validation import Fields, mistake


class OwnMetric(NamedTuple):
    """What a metric is called in results, and when an answer is right by it."""

    name: str
    says: str


METRICS: Mapping[str, OwnMetric] = {
    "exact_match": OwnMetric("exact_match", "the truth, whatever case and blanks"),
    "relaxed": OwnMetric("relaxed_accuracy", "a number within 5 % of the truth, or the truth"),
    "anls": OwnMetric("anls", "one minus the share of letters to edit; 0 below a half"),
    "contains": OwnMetric("contains", "the words of the truth stand in the answer, in a row"),
    "choice": OwnMetric("choice", "the letter of the right option"),
    "f1": OwnMetric("token_f1", "F1 of the answer's words against the truth's"),
}
"""By what a study may write."""

_PACKAGE = Path(__file__).parents[1]
TASK = _PACKAGE / "evaluate" / "own_task"
"""The task file that all of them share, and what it calls."""


class OwnBenchmark(Fields):
    """Conversations that are asked, and how an answer is scored.

    `conversations`, `images`: as of training data (`data_sources.Files`); relative paths start at
    the study. `metric`: one of `METRICS`, or one that another package reads (`ablate.metrics`).
    `max_new_tokens`: where an answer is cut off. `questions`: how many there are; a study that says
    so can tell what its evaluation costs. `title`, `family`: its column in tables.
    """

    model_config = ConfigDict(strict=False)
    conversations: Path
    images: Path | None = None
    metric: str
    max_new_tokens: PositiveInt = 64
    questions: PositiveInt | None = None
    title: str = ""
    family: str = "Own"

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        others = [name for name in READERS.names() if READERS.plug_in(name)]
        if metric not in METRICS and metric not in others:
            hint = nearest(metric, [*METRICS, *others])
            raise mistake(f"no metric '{metric}' of one's own{hint}")
        return metric


class OwnQuestions(BaseModel):
    """Where the questions of a task are. By content, never by place, are they in a key."""

    model_config = ConfigDict(frozen=True)  # a `fingerprint` beside its fields is passed over
    conversations: Path
    images: Path | None = None

    def fingerprint(self) -> str:
        """sha256 of the bytes of the file and of the whole folder of images."""
        images = digest(self.images) if self.images else None
        return sha256_json([digest(self.conversations), images])

    def identity(self) -> dict[str, Any]:
        """The paths as JSON, and the fingerprint that stands for them in keys."""
        return {**self.model_dump(mode="json"), "fingerprint": self.fingerprint()}


@cache
def scorer_fingerprint() -> str:
    """sha256 of what asks and scores one's own questions: our code, by content."""
    metrics = _PACKAGE / "data" / "world" / "metrics.py"
    digested = hashlib.sha256()
    for path in (*sorted(TASK.glob("*.yaml")), *sorted(TASK.glob("*.py")), metrics):
        digested.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digested.hexdigest()
