"""Suites: pinned lists of tasks whose mean is the composite score. Imports no torch.

A suite is a YAML file, one of `suites/` or a user's own. What it asks, of which data, scored how
and by which lmms-eval is its `identity()`, and so part of the key of every evaluate step.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import plugins
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import DataSource, WorldData, parse
from ablate.catalog.own_benchmarks import METRICS, OwnBenchmark, OwnQuestions, scorer_fingerprint
from ablate.catalog.world_version import TEST_QUESTIONS
from ablate.errors import UserError, nearest

_PACKAGE = Path(__file__).parents[1]
_SUITES = Path(__file__).parent / "suites"
TASK_FILES = _PACKAGE / "evaluate" / "tasks"


class Pictures(BaseModel):
    """Where the hub has a benchmark's pictures apart: the configuration of the same dataset that
    holds them by `id`, and the column of the questions that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    config: str
    column: str


class SuiteTask(BaseModel):
    """One lmms-eval task of a suite, and the metric of it that counts.

    `metric`: its name, and after a comma the filter of the answers if there is one. `to_percent`
    takes the metric to 0..100. For a published benchmark, `file` is lmms-eval's own YAML below its
    `tasks` folder, without `.yaml`, or `package:path` of another package's, and `questions` how
    many its set holds; a task of ours has neither. A study's `own` has where its questions are, and
    `max_new_tokens` where an answer is cut off. `judge`: the language model the scorer asks
    (default: none). `pictures` and `only` (the values of columns) say how `ablate fetch` makes the
    set of what is on the hub. `title` heads its column, `benchmark` is the published benchmark it
    is or mirrors, `family` the group of columns it stands in; none of these three moves a score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    task: str
    metric: str
    to_percent: float = 100.0
    file: str | None = None
    questions: PositiveInt | None = None
    own: OwnQuestions | None = None
    max_new_tokens: PositiveInt | None = None
    judge: str | None = None
    pictures: Pictures | None = None
    only: dict[str, str] = Field(default={})
    title: str = ""
    benchmark: str = ""
    family: str = ""

    @property
    def result(self) -> str:
        """The metric as lmms-eval names it in its results: `exact_match,none`."""
        return self.metric if "," in self.metric else f"{self.metric},none"

    def identity(self) -> dict[str, Any]:
        """What of it determines a score."""
        scoring = self.model_dump(include=_SCORING, exclude_none=True)
        return {**scoring, "own": self.own.identity()} if self.own else scoring


class Suite(BaseModel):
    """Tasks, the data they ask about, and whether every image is blanked to mean grey.

    `data` is what our own tasks ask about; the published benchmarks bring theirs (`benchmarks.py`),
    and so do those of a study.
    A blank suite scores the language prior alone: what can be answered without looking.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    title: str = ""
    tasks: tuple[SuiteTask, ...] = Field(min_length=1)
    data: WorldData | None = None
    blank: bool = False

    @field_validator("data", mode="before")
    @classmethod
    def _source(cls, raw: Any) -> DataSource | None:
        return None if raw is None else parse(raw)

    @model_validator(mode="after")
    def _ours_or_published(self) -> "Suite":
        for task in self.tasks:
            if task.own is None and (task.file is None) == (self.data is None):
                raise ValueError(
                    f"{task.task}: give the suite `data` for tasks of ours, or every task the "
                    "`file` that lmms-eval has of it"
                )
        return self

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def published(self) -> tuple[SuiteTask, ...]:
        """The published benchmarks that it asks."""
        return tuple(task for task in self.tasks if task.file is not None)

    @property
    def own(self) -> tuple[SuiteTask, ...]:
        """A study's own benchmarks in it."""
        return tuple(task for task in self.tasks if task.own is not None)

    @property
    def questions(self) -> int | None:
        """How many questions it asks, as declared; None where a task does not say."""
        drawn = TEST_QUESTIONS * self.data.images if self.data else 0
        counts = [task.questions for task in (*self.published, *self.own)]
        return None if None in counts else drawn + sum(filter(None, counts))

    def identity(self) -> dict[str, Any]:
        """All that determines a score, as JSON: the `suite` of an evaluate step's spec.

        Of a published benchmark also the content of its set (None while that is not here: enough
        to plan with) and of the files that score it; of a metric that another package reads, that
        package's code.
        """
        content: dict[str, Any] = {}
        if self.published:
            content |= {
                "sets": {task.task: benchmarks.set_fingerprint(task) for task in self.published},
                "scorers": benchmarks.scorers(self.published),
            }
        if self.data is not None:
            content |= {
                "data": {
                    **self.data.model_dump(mode="json"),
                    "fingerprint": fingerprint(self.data),
                },
                "task_files": task_files_fingerprint(),
            }
        if self.own:
            content["own_scorer"] = scorer_fingerprint()
        if readers := plugins.of_metrics(task.metric for task in self.tasks):
            content["metrics"] = readers
        return {
            "name": self.name,
            "tasks": [task.identity() for task in self.tasks],
            "blank": self.blank,
            "lmms_eval": version("lmms_eval"),
            **content,
        }


_YAML = (".yaml", ".yml")
_SCORING = {"task", "metric", "to_percent", "file", "questions", "judge", "max_new_tokens"}


def names() -> list[str]:
    """The suites there are."""
    return sorted(path.stem for path in _SUITES.glob("*.yaml"))


def absolute(name: str, folder: Path) -> str:
    """A suite's name as it is; of a suite in a file the whole path, relative ones from `folder`."""
    return str(folder / name) if name.endswith(_YAML) else name


@cache
def with_own(name: str | None, chosen: tuple[tuple[str, OwnBenchmark], ...]) -> Suite:
    """The suite of that name, if any, and a study's own benchmarks by name.

    Raises `UserError` where there is neither, or a name stands twice.
    """
    suite = resolve(name) if name else None
    if not chosen:
        if suite is None:
            raise UserError("name a suite, or give the study `benchmarks` of its own")
        return suite
    tasks = tuple(
        SuiteTask(
            task=called,
            metric=METRICS[benchmark.metric].name
            if benchmark.metric in METRICS
            else benchmark.metric,
            own=OwnQuestions(conversations=benchmark.conversations, images=benchmark.images),
            questions=benchmark.questions,
            max_new_tokens=benchmark.max_new_tokens,
            title=benchmark.title or called,
            family=benchmark.family,
        )
        for called, benchmark in chosen
    )
    names = "+".join(task.task for task in tasks)
    if suite is None:
        return Suite(name=names, tasks=tasks)
    for task in suite.tasks:
        if task.task in dict(chosen):
            raise UserError(f"suite {suite.name} has a task '{task.task}', too: rename yours")
    changes = {"name": f"{suite.name}+{names}", "tasks": (*suite.tasks, *tasks)}
    return suite.model_copy(update=changes)


@cache
def resolve(name: str) -> Suite:
    """The suite of that name, or in the YAML file at that path. Raises `UserError`."""
    path = _path(name)
    try:
        return Suite(name=path.stem, **_read(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "suite"
        raise UserError(f"{path}: {field}: {first['msg']}") from None


def from_identity(identity: Mapping[str, Any]) -> Suite:
    """The suite in a step's spec, without the titles."""
    fields = ("name", "tasks", "data", "blank")
    return Suite.model_validate({field: identity.get(field) for field in fields})


def require_same(identity: Mapping[str, Any]) -> None:
    """Raise UserError if what determines a score is no longer what a step's spec says of it."""
    now = from_identity(identity).identity()
    if now != identity:
        raise UserError(
            f"suite {identity['name']}: not the same {_apart(identity, now)} as when the study was "
            "planned; start it again, and what depends on them is made anew"
        )


def measure(spec: Mapping[str, Any], sets: Mapping[str, str]) -> dict[str, Any]:
    """What the composite of an evaluate step with this `spec` is the mean of.

    A suite's `identity` by content, the share of the `questions` where not all are asked, and the
    `sets`: the fingerprints the evaluation found. Only composites of one measure may be compared.
    """
    identity = spec["suite"]
    data = (identity.get("data") or {}).get("fingerprint")
    share = {"questions": spec["questions"]} if "questions" in spec else {}
    content = {key: identity[key] for key in identity if key != "name"}
    tasks = [_by_content(task) for task in identity["tasks"]]
    return {**content, **share, "tasks": tasks, "data": data, "sets": sets}


def _by_content(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """A task's identity, of its own questions without their place."""
    return {**task, "own": task["own"]["fingerprint"]} if "own" in task else task


def require_same_measure(measures: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise `UserError` unless all the candidates (name, measure) were scored by one measure."""
    named = iter(measures)
    first, expected = next(named, ("", {}))
    for name, measure in named:
        if measure != expected:
            raise UserError(
                f"{first} and {name} were scored by different measures, so cannot be compared: "
                f"not the same {_apart(expected, measure)}; score both on one suite and one copy "
                "of its sets"
            )


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """What two measures differ in, first of all."""
    parts = [part for part in a.keys() | b.keys() if a.get(part) != b.get(part)]
    part = min(parts, key=lambda part: (part in _BY_TASK, part))
    if part == "questions":
        return "share of the questions"
    if part not in _BY_TASK:
        return part
    sets, others = a.get(part) or {}, b.get(part) or {}
    tasks = sorted(task for task in sets.keys() | others if sets.get(task) != others.get(task))
    return f"{'questions' if part == 'sets' else 'scorers'} of {', '.join(tasks)}"


_BY_TASK = ("sets", "scorers")
"""The parts of an identity that follow from its tasks."""


def _path(name: str) -> Path:
    if name in names():
        return _SUITES / f"{name}.yaml"
    if name.endswith(_YAML):
        return Path(name)
    raise UserError(f"no suite '{name}'{nearest(name, names())}")


def _read(path: Path) -> dict[str, Any]:
    """The YAML file's fields, over those of the suite it `extends`.

    A task written as its name alone is the one of that name in the suite below.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"suite {path}: cannot be read: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f"suite {path}: a suite is a mapping of fields")
    parent = fields.pop("extends", None)
    under = _read(_path(absolute(str(parent), path.parent))) if parent else {}
    known = {task["task"]: task for task in under.get("tasks", ())}
    if "tasks" in fields:
        fields["tasks"] = [_task(task, known, path) for task in fields["tasks"]]
    return {**under, **fields}


def _task(written: Any, known: Mapping[str, Any], path: Path) -> Any:
    if not isinstance(written, str):
        return written
    if written not in known:
        raise UserError(f"suite {path}: tasks: no '{written}' below{nearest(written, known)}")
    return known[written]


@cache
def task_files_fingerprint() -> str:
    """sha256 over the names and contents of the task files, and of the metrics they call."""
    metrics = _PACKAGE / "data" / "world" / "metrics.py"
    digest = hashlib.sha256()
    for path in (*sorted(TASK_FILES.glob("*.yaml")), TASK_FILES / "utils.py", metrics):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
