"""The published benchmarks: lmms-eval's tasks, asked of copies of their sets on this disk.

The set of a task lies in `$ABLATE_DATA/benchmarks/<task>` (default: below `<home>/datasets`) as a
DatasetDict that `save_to_disk` wrote. It holds the split that the task asks, in the columns of the
hub's dataset, and just the questions that count (`only`), with their pictures joined in where the
hub has them apart (`pictures`): `ablate fetch` puts it there. Nothing here imports lmms-eval.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

import fusion_zoo
from ablate.catalog import plugins
from ablate.catalog.data_fingerprint import LONG
from ablate.errors import UserError
from ablate.files import (
    datasets,
    disk_cache,
    remembered_while,
    sizes_and_times,
    write_atomic,
)

if TYPE_CHECKING:
    from ablate.catalog.suites import Suite, SuiteTask

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


def hub(task: "SuiteTask") -> Hub:
    """Where lmms-eval's own YAML of the task takes its set from."""
    fields = _yaml(_own_file(task))
    return Hub(fields["dataset_path"], fields.get("dataset_name"), fields["test_split"])


def require(suite: "Suite") -> None:
    """Raise `UserError` unless every published benchmark of the suite can be asked here.

    Names what is missing, where it was looked for and what it is called on the hub; a set of
    another size than the suite pins; a judge that cannot be asked.
    """
    missing = [task for task in suite.published if not is_here(task)]
    if missing:
        first, *others = missing
        path, config, split = hub(first)
        more = f"; nor of {', '.join(task.task for task in others)}" if others else ""
        raise UserError(
            f"no set of {first.task} at {root() / first.task} (on the hub: {path}, "
            f"{config or 'default'}, split {split}){more}: run `ablate fetch STUDY` where there is "
            "a network, or set ABLATE_DATA"
        )
    for task in suite.published:
        _load(task)
        if task.judge and os.environ.get("API_TYPE", "openai") == "openai":
            if not os.environ.get("OPENAI_API_KEY"):
                raise UserError(f"{task.task} is judged by {task.judge}: set OPENAI_API_KEY")
            if find_spec("Levenshtein") is None:
                raise UserError(f"{task.task} needs the package Levenshtein: pip install it")


def is_here(task: "SuiteTask") -> bool:
    """Whether the task's set is on this disk."""
    return (root() / task.task).is_dir() and _split_folder(task).is_dir()


def read_set(task: "SuiteTask") -> Asked:
    """The questions of the task's set and its fingerprint, remembered while its files stay."""
    split = _load(task)
    pictures, fingerprint = _content(task)
    questions = [
        {"id": f"{number:06d}", "image": f"{task.task}/{picture}", "question": question}
        for number, (question, picture) in enumerate(zip(_texts(split), pictures, strict=True))
    ]
    return Asked(questions, fingerprint)


def set_fingerprint(task: "SuiteTask") -> str | None:
    """What the task's set hashes to, remembered while its files stay; None where there is none."""
    if not is_here(task):
        return None
    try:  # a memory of its own: that of all pictures is long
        return str(disk_cache("sets", sizes_and_times(_files(task)), lambda: _content(task)[1]))
    except UserError:
        return None  # no set, which `require` says


def scorers(tasks: Iterable["SuiteTask"]) -> dict[str, str]:
    """What decides the score of each task beside its set, by content: a sha256 each.

    The files in the folder of its YAML and of those it includes, and the code it names with what
    that imports of lmms-eval's tasks, filters and API. The rest of lmms-eval counts by its version.
    """
    tasks = list(tasks)
    named = {task.task: _own_file(task) for task in tasks}
    owners = {task.task: str(task.file).rpartition(":")[0] for task in tasks}

    def read() -> tuple[dict[str, str], Iterable[Path]]:
        by_task = {task: _scorer(path, owners[task]) for task, path in named.items()}
        files = {path for files_of_one in by_task.values() for path in files_of_one.values()}
        hashed = {task: plugins.digest(files_of_one) for task, files_of_one in by_task.items()}
        return hashed, [*files, *{path.parent for path in files}]

    of = json.dumps([[task, str(path)] for task, path in named.items()])
    hashed: dict[str, str] = remembered_while("code", of, read)
    return hashed


def _scorer(path: Path, owner: str) -> dict[str, Path]:
    """The files behind a task's YAML, by names that do not depend on where they lie.

    `owner`: the package it is from; none is lmms-eval.
    """
    files, code = dict[str, Path](), set[str]()
    for included in _chain(path):
        beside = (
            entry
            for entry in included.parent.iterdir()
            if entry.is_file() and entry.suffix != ".pyc"
        )
        files |= {f"{included.parent.name}/{entry.name}": entry for entry in beside}
        for module in re.findall(
            r"!function\s+([\w.]+)\.\w+", included.read_text(encoding="utf-8")
        ):
            file = included.parent / f"{module}.py"  # as lmms-eval looks for it, or else
            code |= set(plugins.imports(file, "")) if file.is_file() else {module}
    within = (*_SCORING_CODE, owner) if owner else _SCORING_CODE
    return files | plugins.closure(code, within, guess=False)


_SCORING_CODE = ("lmms_eval.tasks", "lmms_eval.filters", "lmms_eval.api")


def _chain(path: Path) -> Iterator[Path]:
    """A YAML file, and those it includes."""
    yield path
    include = yaml.load(path.read_text(encoding="utf-8"), Loader=_Lenient).get("include")
    if include:
        yield from _chain(path.parent / include)


def _files(task: "SuiteTask") -> list[Path]:
    return sorted(path for path in (root() / task.task).rglob("*") if path.is_file())


def _content(task: "SuiteTask") -> tuple[list[str], str]:
    """A hash of each row's pictures, and one of the whole set, remembered while its files stay."""
    files = _files(task)

    def read() -> list[Any]:
        if (size := sum(path.stat().st_size for path in files)) > LONG:
            print(f"reading {task.task}, {size / 1e9:.1f} GB, to know it again", file=sys.stderr)
        return list(_hashed(_opened(task)))

    pictures, fingerprint = disk_cache("benchmarks", sizes_and_times(files), read)
    return pictures, fingerprint


def first_questions(task: "SuiteTask", count: int) -> list[Row]:
    """So many of the task's questions, the first in its set's order, their pictures unread."""
    split = _load(task)
    texts = _texts(split.select(range(min(count, len(split)))))
    return [
        {"id": f"{n:06d}", "image": task.task, "question": text} for n, text in enumerate(texts)
    ]


def write_task_files(suite: "Suite", folder: Path) -> None:
    """Put a task file for each benchmark into `folder`: lmms-eval's own, asked of our copy."""
    for task in suite.published:
        fields = {
            "include": str(_own_file(task)),
            "task": task.task,
            "dataset_path": str(root() / task.task),
            "dataset_name": None,
            "dataset_kwargs": {"load_from_disk": True},
            "process_docs": None,  # GQA's would fetch its images from the hub
        }
        write_atomic(folder / f"{task.task}.yaml", json.dumps(fields, indent=1))


def prepare(task: "SuiteTask", revision: str, folder: Path) -> None:
    """Download the task's set from the hub, as of a commit, into `folder` as it is asked.

    Raises `UserError` if it is not of the size the suite pins; `datasets`' own errors pass.
    """
    import datasets

    dataset, config, split = hub(task)
    rows = datasets.load_dataset(dataset, config, split=split, revision=revision)
    if pictures := task.pictures:
        images = datasets.load_dataset(dataset, pictures.config, split=split, revision=revision)
        index_of = {name: number for number, name in enumerate(images["id"])}
        shown = images.select([index_of[name] for name in rows[pictures.column]])
        rows = datasets.concatenate_datasets([rows, shown.select_columns("image")], axis=1)
    for column, wanted in task.only.items():
        cells = enumerate(rows[column])
        rows = rows.select([number for number, cell in cells if cell == wanted])
    _check_size(task, dataset, rows)
    datasets.DatasetDict({split: rows}).save_to_disk(str(folder))


def _own_file(task: "SuiteTask") -> Path:
    """The task's YAML: lmms-eval's own, or of another package where `file` is `package:path`."""
    package, _, inside = str(task.file).rpartition(":")
    spec = fusion_zoo.locate(package or "lmms_eval")
    if spec is None or spec.origin is None:
        raise UserError(f"{task.task}: there is no package {package}, which `file` names")
    folder = Path(spec.origin).parent
    path = (folder if package else folder / "tasks") / f"{inside}.yaml"
    if not path.is_file():
        whose = package or "this version of lmms-eval"
        raise UserError(f"{task.task}: {whose} has no task file {inside}.yaml")
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


def _split_folder(task: "SuiteTask") -> Path:
    return root() / task.task / hub(task).split


def _load(task: "SuiteTask") -> Any:
    """The task's split. `UserError` if it cannot be read, or is not of the size the suite pins."""
    split = _opened(task)
    _check_size(task, str(_split_folder(task)), split)
    return split


def _opened(task: "SuiteTask") -> Any:
    import datasets

    folder = _split_folder(task)
    try:
        return datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: not a set that `save_to_disk` wrote: {error}") from None


def _check_size(task: "SuiteTask", source: str, split: Any) -> None:
    if task.questions not in (None, len(split)):
        raise UserError(
            f"{source} holds {len(split)} questions, but {task.task} has {task.questions}: another "
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
