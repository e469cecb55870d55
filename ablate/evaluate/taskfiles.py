"""Our lmms-eval tasks, bound to the test data they ask about, in a folder lmms-eval can read.

    python -m ablate.evaluate.taskfiles [SUITE]

draws the suite's test data if need be and prints the folder of its task files. With that,

    python -m lmms_eval --model ablate --model_args pretrained=runs/store/finetune/<step> \\
        --include_path <folder> --tasks abl_ocr

scores a trained candidate with lmms-eval's own command line.
"""

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.catalog.own_benchmarks import TASK as OWN_TASK
from ablate.catalog.suites import TASK_FILES, SuiteTask, resolve, task_files_fingerprint
from ablate.data.made import made
from ablate.errors import UserError
from ablate.evaluate.own_task.metrics import METRICS
from ablate.files import home, write_atomic
from ablate.home import Home

Row = Mapping[str, Any]
BASE = "_ablate_base"  # without .yaml, so that it is not taken for a task itself


def materialise(data: Path) -> Path:
    """The folder of task files for the prepared test data in `data`, made once and beside it.

    It holds the task files and `sets/`, a dataset a task, as lmms-eval loads all splits of one. The
    pictures stay where they are. Raises `UserError` at the first bad row of `questions.jsonl`.
    """
    folder = data.parent / f"{data.name}-tasks-{task_files_fingerprint()[:8]}-apart"

    def fill(partial: Path) -> None:
        _save_datasets(data, partial / "sets")
        shutil.copyfile(TASK_FILES / "base.yaml", partial / BASE)
        shutil.copyfile(TASK_FILES / "utils.py", partial / "utils.py")

    made(folder, fill)
    for path in TASK_FILES.glob("abl_*.yaml"):
        text, bound = path.read_text(encoding="utf-8"), folder / path.name
        text += f"dataset_path: {json.dumps(str((folder / 'sets' / path.stem).absolute()))}\n"
        if not bound.is_file() or bound.read_text(encoding="utf-8") != text:
            write_atomic(bound, text)  # also after the whole tree was moved
    return folder


def write_own_task(task: SuiteTask, data: Path, rows: Sequence[Row], folder: Path) -> None:
    """Put a task file of a user's own benchmark into `folder`, and beside it the questions, whose
    pictures lie in `data`."""
    import datasets

    kept = {name: [row[name] for row in rows] for name in ("question", "answer")}
    images = [[str(data.absolute() / image) for image in row["images"]] for row in rows]
    columns = {**kept, "images": images, "metric": [task.metric] * len(rows)}
    sets = datasets.DatasetDict({"test": datasets.Dataset.from_dict(columns)})
    sets.save_to_disk(str(folder / "sets" / task.task))
    fields = {
        "include": str(OWN_TASK / "base.yaml"),
        "task": task.task,
        "dataset_path": str((folder / "sets" / task.task).absolute()),
        "generation_kwargs": {
            "max_new_tokens": task.max_new_tokens,
            "temperature": 0,
            "do_sample": False,
            "until": [],
        },
        "metric_list": [
            {
                "metric": task.metric if task.metric in METRICS else "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
            }
        ],
    }
    write_atomic(folder / f"{task.task}.yaml", json.dumps(fields, indent=1))


def read_questions(data: Path) -> dict[str, list[dict[str, Any]]]:
    """The test questions by task, in the order of their ids.

    Raises `UserError` naming file, line and field of a bad row, or where two share an id.
    """
    rows_of: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    path = data / "questions.jsonl"
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = _question(f"{path}:{number}", line)
            if row["id"] in rows_of[row["family"]]:
                raise UserError(f"{path}:{number}: id: {row['id']!r} stands there twice")
            rows_of[row["family"]][row["id"]] = row
    return {task: [rows[key] for key in sorted(rows)] for task, rows in sorted(rows_of.items())}


def _question(where: str, line: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{where}: a question must be an object, not {raw!r}")
    for field in ("id", "image", "family", "question", "answer"):
        if not isinstance(raw.get(field), str):
            raise UserError(f"{where}: {field}: a text is needed, not {raw.get(field)!r}")
    return {**raw, "answers": raw.get("answers") or [raw["answer"]]}


def _save_datasets(data: Path, target: Path) -> None:
    import datasets

    names = ("id", "image", "question", "answer", "answers")
    for task, rows in read_questions(data).items():
        columns = {name: [row[name] for row in rows] for name in names}
        asked = datasets.Dataset.from_dict(columns | {"data": [data.name] * len(rows)})
        datasets.DatasetDict({task: asked}).save_to_disk(str(target / task))


def main() -> None:
    """Print the folder of the task files of a suite (default: micro)."""
    from ablate.data.prepare import prepare

    try:
        suite = resolve(sys.argv[1] if len(sys.argv) > 1 else "micro")
        if suite.data is None:
            raise UserError(
                f"suite {suite.name} asks lmms-eval's own tasks, which it knows already"
            )
        print(materialise(prepare(suite.data, Home(home()).data)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
