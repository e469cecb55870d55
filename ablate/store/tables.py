"""All that a home's store holds, as rows: what `ablate query` asks. It is read as it is written.

| table | a row is |
|---|---|
| `candidates` | an evaluation that is done: what was evaluated, and its mean score |
| `cells` | the score of one of its tasks |
| `answers` | the answer to one of its questions |
| `steps` | a step that is done, or whose record says that it failed |
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.catalog.step_kinds import EVALUATE
from ablate.files import UNREADABLE, read_json
from ablate.home import Home
from ablate.store.answers import ANSWERS
from ablate.store.steps import trained_roles

Row = dict[str, Any]
Columns = Mapping[str, str]
"""Types of SQL by name."""

STEPS: Columns = {
    "key": "VARCHAR",
    "kind": "VARCHAR",
    "stage": "VARCHAR",
    "slug": "VARCHAR",
    "status": "VARCHAR",
    "seconds": "DOUBLE",
    "device": "VARCHAR",
    "devices": "BIGINT",
    "device_seconds": "DOUBLE",
    "peak_memory_mb": "DOUBLE",
    "restarts": "BIGINT",
    "host": "VARCHAR",
    "started": "DOUBLE",
    "ended": "DOUBLE",
}
CANDIDATES: Columns = {
    "key": "VARCHAR",
    "encoders": "VARCHAR[]",
    "fusion": "VARCHAR",
    "llm": "VARCHAR",
    "seed": "BIGINT",
    "suite": "VARCHAR",
    "score": "DOUBLE",
    "questions": "BIGINT",
    "studies": "VARCHAR[]",
}
CELLS: Columns = {
    "key": "VARCHAR",
    "task": "VARCHAR",
    "metric": "VARCHAR",
    "score": "DOUBLE",
    "questions": "BIGINT",
    "unread": "BIGINT",
}
ANSWER: Columns = {
    "task": "VARCHAR",
    "id": "VARCHAR",
    "image": "VARCHAR",
    "question": "VARCHAR",
    "truth": "VARCHAR",
    "answer": "VARCHAR",
    "score": "DOUBLE",
    "weight": "DOUBLE",
}
ANSWERS_TABLE: Columns = {"key": "VARCHAR", **ANSWER}


def records(home: Path) -> Iterator[tuple[Path, Row]]:
    """Every step in the store that has a record, with its folder."""
    for path in sorted(Home(home).store.glob("*/*/record.json")):
        with contextlib.suppress(*UNREADABLE):
            yield path.parent, read_json(path)


def steps(home: Path) -> Iterator[Row]:
    """The rows of `steps`."""
    for _, record in records(home):
        yield {name: record.get(name) for name in STEPS}


def evaluations(home: Path) -> Iterator[tuple[Path, Row]]:
    """Every evaluation that is done, with its folder."""
    for folder, record in records(home):
        if record.get("kind") == EVALUATE and record.get("status") == "done":
            yield folder, record


def candidates(home: Path) -> Iterator[Row]:
    """The rows of `candidates`. `studies`: whose decisions rest on it, by their ids."""
    deciding = _studies(home)
    for folder, record in evaluations(home):
        with contextlib.suppress(*UNREADABLE):  # what it was made of may be gone
            spec = read_json(folder / "spec.json")
            parent = spec["parents"][trained_roles(spec["parents"])[0]]
            trained = Home(home).store / parent["kind"] / parent["dirname"] / "spec.json"
            model = read_json(trained)["spec"]
            yield {
                "key": record["key"],
                "encoders": [_title(encoder) for encoder in model["model"]["encoders"]],
                "fusion": model["model"]["fusion"]["name"],
                "llm": model["model"]["llm"]["name"],
                "seed": model["seed"],
                "suite": spec["spec"]["suite"]["name"],
                "score": record["result"]["composite"],
                "questions": record["result"]["questions"],
                "studies": deciding[record["key"]],
            }


def cells(home: Path) -> Iterator[Row]:
    """The rows of `cells`."""
    for _, record in evaluations(home):
        for task, score in record["result"]["scores"].items():
            yield {
                "key": record["key"],
                "task": task,
                "metric": score.get("metric"),
                "score": score["value"],
                "questions": score.get("n"),
                "unread": score.get("unread"),
            }


def answer_files(home: Path) -> dict[str, Path]:
    """The file of answers of each evaluation, by its key."""
    return {
        record["key"]: folder / ANSWERS
        for folder, record in evaluations(home)
        if (folder / ANSWERS).is_file()
    }


def _title(encoder: Mapping[str, Any]) -> str:
    return f"{encoder['name']}@{encoder['resolution']}"


def _studies(home: Path) -> dict[str, list[str]]:
    """By evaluation the studies that decided on it."""
    studies: dict[str, list[str]] = defaultdict(list)
    for path in sorted(Home(home).studies.rglob("decisions/*.json")):
        study = path.parent.parent.relative_to(Home(home).studies).as_posix()
        with contextlib.suppress(*UNREADABLE, KeyError):
            for key in read_json(path)["inputs"]:
                if study not in studies[key]:
                    studies[key].append(study)
    return studies
