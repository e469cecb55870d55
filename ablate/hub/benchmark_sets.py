"""The published benchmarks: lmms-eval's own tasks, asked of copies of their sets on this disk.

The set of a task lies in `$ABLATE_DATA/benchmarks/<task>` (default: below `<home>/datasets`) as a
DatasetDict that `save_to_disk` wrote. It holds the split that the task asks, in the columns of the
hub's dataset, and just the questions that count: of SEED-Bench those about one image; GQA's with
their images joined in. `ablate fetch` puts it there. Nothing here imports lmms-eval itself.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ablate.catalog.suites import Suite, SuiteTask
from ablate.errors import UserError
from ablate.files import datasets, remembered, sizes_and_times, write_atomic

Row = dict[str, Any]


class Hub(NamedTuple):
    """Where a benchmark's set is published: the dataset, its configuration, the split asked."""

    dataset: str
    config: str | None
    split: str


class Asked(NamedTuple):
    """The questions of a set in its order (id, image, question), and what its content hashes to.

    `image` is `<task>/<hash of the pictures>`: the same for questions about the same picture.
    """

    questions: list[Row]
    fingerprint: str


def root() -> Path:
    """The folder of all benchmark sets."""
    return datasets() / "benchmarks"


def hub(task: SuiteTask) -> Hub:
    """Where lmms-eval's own YAML of the task takes its set from."""
    fields = _yaml(_own_file(task))
    return Hub(fields["dataset_path"], fields.get("dataset_name"), fields["test_split"])


def require(suite: Suite) -> None:
    """Raise `UserError` unless every published benchmark of the suite can be asked here.

    Names what is missing, where it was looked for and what it is called on the hub; a set of
    another size than the suite pins; a judge that cannot be asked.
    """
    if not suite.published:
        return
    missing = [task for task in suite.tasks if not is_here(task)]
    if missing:
        first, *others = missing
        path, config, split = hub(first)
        more = f"; nor of {', '.join(task.task for task in others)}" if others else ""
        raise UserError(
            f"no set of {first.task} at {root() / first.task} (on the hub: {path}, "
            f"{config or 'default'}, split {split}){more}: run `ablate fetch STUDY` where there is "
            "a network, or set ABLATE_DATA"
        )
    for task in suite.tasks:
        _load(task)
        if task.judge and os.environ.get("API_TYPE", "openai") == "openai":
            if not os.environ.get("OPENAI_API_KEY"):
                raise UserError(f"{task.task} is judged by {task.judge}: set OPENAI_API_KEY")
            if find_spec("Levenshtein") is None:
                raise UserError(f"{task.task} needs the package Levenshtein: pip install it")


def is_here(task: SuiteTask) -> bool:
    """Whether the task's set is on this disk."""
    return _split_folder(task).is_dir()


def read_set(task: SuiteTask) -> Asked:
    """The questions of the task's set and its fingerprint, remembered while its files stay."""
    split = _load(task)
    files = sorted(path for path in (root() / task.task).rglob("*") if path.is_file())
    pictures, fingerprint = remembered(
        "benchmarks", sizes_and_times(files), lambda: list(_hashed(split))
    )
    questions = [
        {"id": f"{number:06d}", "image": f"{task.task}/{picture}", "question": question}
        for number, (question, picture) in enumerate(zip(_texts(split), pictures, strict=True))
    ]
    return Asked(questions, fingerprint)


def first_questions(task: SuiteTask, count: int) -> list[Row]:
    """So many of the task's questions, the first in its set's order, their pictures unread."""
    split = _load(task)
    texts = _texts(split.select(range(min(count, len(split)))))
    return [
        {"id": f"{n:06d}", "image": task.task, "question": text} for n, text in enumerate(texts)
    ]


def write_task_files(suite: Suite, folder: Path) -> None:
    """Put a task file for each benchmark into `folder`: lmms-eval's own, asked of our copy."""
    for task in suite.tasks:
        fields = {
            "include": str(_own_file(task)),
            "task": task.task,
            "dataset_path": str(root() / task.task),
            "dataset_name": None,
            "dataset_kwargs": {"load_from_disk": True},
            "process_docs": None,  # GQA's would fetch its images from the hub
        }
        write_atomic(folder / f"{task.task}.yaml", json.dumps(fields, indent=1))


def prepare(task: SuiteTask, revision: str, folder: Path) -> None:
    """Download the task's set from the hub, as of a commit, into `folder` as it is asked.

    Raises `UserError` if it is not of the size the suite pins; `datasets`' own errors pass.
    """
    import datasets

    dataset, config, split = hub(task)
    found = datasets.load_dataset(dataset, config, split=split, revision=revision)
    if task.task == "gqa":
        pictures = "testdev_balanced_images"
        images = datasets.load_dataset(dataset, pictures, split=split, revision=revision)
        place = {name: number for number, name in enumerate(images["id"])}
        shown = images.select([place[name] for name in found["imageId"]])
        found = datasets.concatenate_datasets([found, shown.select_columns("image")], axis=1)
    if task.task == "seedbench":
        kinds = found["data_type"]
        found = found.select([number for number, kind in enumerate(kinds) if kind == "image"])
    _check_size(task, dataset, found)
    datasets.DatasetDict({split: found}).save_to_disk(str(folder))


def _own_file(task: SuiteTask) -> Path:
    package = find_spec("lmms_eval")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "tasks" / f"{task.file}.yaml"
    if not path.is_file():
        raise UserError(f"{task.task}: this version of lmms-eval has no task file {task.file}.yaml")
    return path


class _Lenient(yaml.SafeLoader):
    """Reads lmms-eval's YAML without the functions it names."""


_Lenient.add_constructor("!function", lambda loader, node: None)


@cache
def _yaml(path: Path) -> dict[str, Any]:
    """The file's fields over those of the one it includes."""
    fields: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Lenient)
    include = fields.pop("include", None)
    return {**(_yaml(path.parent / include) if include else {}), **fields}


def _split_folder(task: SuiteTask) -> Path:
    return root() / task.task / hub(task).split


def _load(task: SuiteTask) -> Any:
    """The task's split. `UserError` if it cannot be read, or is not of the size the suite pins."""
    import datasets

    folder = _split_folder(task)
    try:
        split = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: not a set that `save_to_disk` wrote: {error}") from None
    _check_size(task, str(folder), split)
    return split


def _check_size(task: SuiteTask, place: str, split: Any) -> None:
    if task.questions not in (None, len(split)):
        raise UserError(
            f"{place} holds {len(split)} questions, but {task.task} has {task.questions}: another "
            "revision, or not prepared by `ablate fetch`"
        )


def _texts(split: Any) -> list[str]:
    """The questions; of a set of captions, which asks the same of every picture, empty ones."""
    if "question" not in split.column_names:
        return [""] * len(split)
    return list(split["question"])


def _hashed(split: Any) -> tuple[list[str], str]:
    """A hash of each row's pictures, as they are stored, and one of all rows in order."""
    import datasets

    def holds_pictures(feature: Any) -> bool:
        return isinstance(getattr(feature, "feature", feature), datasets.Image)

    columns = [name for name, feature in split.features.items() if holds_pictures(feature)]
    pictures, whole = [], hashlib.sha256()
    for batch in split.with_format("arrow").iter(batch_size=64):  # stored bytes: nothing is decoded
        for row in batch.to_pylist():
            seen = hashlib.sha256()
            for image in (image for name in columns for image in _images(row.pop(name))):
                seen.update(image["bytes"] or str(image["path"]).encode())
            pictures.append(seen.hexdigest()[:16])
            whole.update(json.dumps([row, pictures[-1]], sort_keys=True, default=str).encode())
    return pictures, whole.hexdigest()


def _images(cell: Any) -> Iterator[Row]:
    cells: Sequence[Any] = cell if isinstance(cell, list) else [cell]
    return (image for image in cells if image is not None)
