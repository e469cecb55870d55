"""Suites: pinned lists of tasks whose mean is the composite score. Imports no torch.

A suite is a YAML file in `suites/`. What it asks, of which data, scored how and by which version of
lmms-eval is its `identity()`, and so part of the key of every evaluate step.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ablate.data.fingerprint import fingerprint
from ablate.data.spec import DataSource, WorldData, parse
from ablate.errors import UserError, nearest

_HERE = Path(__file__).parent
TASK_FILES = _HERE / "tasks"


class SuiteTask(BaseModel):
    """One lmms-eval task of a suite, and the metric of it that counts.

    `to_percent` takes the metric to 0..100. `title` heads its column, `benchmark` is the published
    benchmark it mirrors, `family` the group of columns it stands in; none of them moves a score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    task: str
    metric: str
    to_percent: float = 100.0
    title: str = ""
    benchmark: str = ""
    family: str = ""


class Suite(BaseModel):
    """Tasks, the data they ask about, and whether every image is blanked to mean grey.

    A blank suite scores the language prior alone: what can be answered without looking.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    title: str = ""
    tasks: tuple[SuiteTask, ...] = Field(min_length=1)
    data: WorldData
    blank: bool = False

    @field_validator("data", mode="before")
    @classmethod
    def _source(cls, raw: Any) -> DataSource:
        return parse(raw)

    def identity(self) -> dict[str, Any]:
        """All that determines a score, as JSON: the `suite` of an evaluate step's spec."""
        return {
            "name": self.name,
            "tasks": [task.model_dump(include=_SCORING) for task in self.tasks],
            "data": {**self.data.model_dump(mode="json"), "fingerprint": fingerprint(self.data)},
            "blank": self.blank,
            "lmms_eval": version("lmms_eval"),
            "task_files": task_files_fingerprint(),
        }


_SCORING = {"task", "metric", "to_percent"}


def names() -> list[str]:
    """The suites there are."""
    return sorted(path.stem for path in (_HERE / "suites").glob("*.yaml"))


@cache
def resolve(name: str) -> Suite:
    """The suite of that name. Raises `UserError` where there is none."""
    if name not in names():
        raise UserError(f"no suite '{name}'{nearest(name, names())}")
    return Suite(name=name, **_read(name))


def from_identity(identity: Mapping[str, Any]) -> Suite:
    """The suite in a step's spec, without the titles."""
    return Suite(**{key: identity[key] for key in ("name", "tasks", "data", "blank")})


def _read(name: str) -> dict[str, Any]:
    """The YAML file's fields, over those of the suite it `extends`."""
    fields = yaml.safe_load((_HERE / "suites" / f"{name}.yaml").read_text(encoding="utf-8"))
    parent = fields.pop("extends", None)
    return {**(_read(parent) if parent else {}), **fields}


@cache
def task_files_fingerprint() -> str:
    """sha256 over the names and contents of the task files, and of the metrics they call."""
    metrics = _HERE.parent / "data" / "world" / "metrics.py"
    digest = hashlib.sha256()
    for path in (*sorted(TASK_FILES.glob("*.yaml")), TASK_FILES / "utils.py", metrics):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
