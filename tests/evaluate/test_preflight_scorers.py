"""What a scorer gives is known before anything is trained: by the preflight, of any task."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from benchmark_toys import picture, plug_in_judge, save

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import suites
from ablate.evaluate import score
from ablate.evaluate.asked import Asked
from ablate.evaluate.containment import contained
from ablate.preflight.scorers import Canned, check_scorers
from ablate.preflight.step import Problem

Row = dict[str, Any]


def problems(suite: suites.Suite, folder: Path) -> list[Problem]:
    (folder / "work").mkdir(exist_ok=True)
    ctx: Any = SimpleNamespace(
        spec={"suite": json.loads(json.dumps(suite.identity()))}, work=folder / "work", home=folder
    )
    return list(check_scorers(ctx))


def of(task: str, file: str, metric: str, **more: Any) -> suites.Suite:
    """A suite of one of lmms-eval's own tasks."""
    fields = {"task": task, "file": file, "metric": metric, **more}
    return suites.Suite.model_validate({"name": "theirs", "tasks": [fields]})


def put(task: suites.SuiteTask, rows: list[Row]) -> None:
    """A set of these rows, each with a picture of its own."""
    made = [{**row, "image": picture(task.task, n)} for n, row in enumerate(rows)]
    split = datasets.Dataset.from_list(made)
    folder = benchmarks.root() / task.task
    datasets.DatasetDict({benchmarks.hub(task).split: split}).save_to_disk(str(folder))


def cv_bench() -> list[Row]:
    fields = {"type": "2D", "task": "Count", "source": "COCO", "choices": ["1", "2"]}
    asked = [("(A)", "How many cats?"), ("(B)", "How many dogs?")] * 3
    return [
        {**fields, "idx": n, "question": text, "prompt": text, "answer": answer}
        for n, (answer, text) in enumerate(asked)
    ]


def test_our_own_suites_pass(tmp_path: Path) -> None:
    assert problems(suites.resolve("micro-smoke"), tmp_path) == []
    assert problems(suites.resolve("micro-blind"), tmp_path) == []


def test_a_metric_that_a_task_of_ours_does_not_have_is_told_with_the_nearest(
    tmp_path: Path,
) -> None:
    suite = suites.resolve("micro-smoke")
    wrong = suite.tasks[0].model_copy(update={"metric": "exact_mach"})
    [problem] = problems(suite.model_copy(update={"tasks": (wrong,)}), tmp_path)
    assert "it has no such metric; did you mean 'exact_match'?" in problem.what


def test_the_published_benchmarks_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    plug_in_judge(monkeypatch)
    whole = suites.resolve("eagle-main")
    whole = whole.model_copy(update={"tasks": (*whole.tasks, *suites.resolve("eagle").tasks[5:6])})
    tasks = tuple(task.model_copy(update={"questions": None}) for task in whole.tasks)
    for task in tasks:
        save(task, tmp_path / "benchmarks")
    assert problems(whole.model_copy(update={"tasks": tasks}), tmp_path) == []


def test_a_task_whose_scorer_says_only_whether_an_answer_is_right_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    suite = of("cv_bench_2d", "cv_bench/cv_bench_2d", "cv_bench_acc")
    put(suite.tasks[0], cv_bench())
    assert problems(suite, tmp_path) == []
    benchmarks.write_task_files(suite, tmp_path / "tasks")
    asked = {"cv_bench_2d": benchmarks.read_set(suite.tasks[0]).questions}
    with contained(suite):
        found = score.run_task(
            Canned(), suite.tasks[0], Asked([tmp_path / "tasks"], asked, {}, tmp_path)
        )
    assert found["value"] == 0.5
    assert [row["score"] for row in found["rows"]] == [1.0, 0.0] * 3


def test_a_task_that_scores_no_answer_by_itself_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    suite = of("hallusion_bench_image", "hallusion_bench/hallusion_bench_image", "aAcc")
    fields = {"category": "VD", "subcategory": "c", "set_id": "0", "figure_id": "0"}
    texts = {"gt_answer": "1", "gt_answer_details": "It is.", "question_id": "0"}
    put(suite.tasks[0], [{**fields, **texts, "question": "Is it?"}] * 2)
    [problem] = problems(suite, tmp_path)
    assert problem.what.startswith("task hallusion_bench_image, metric aAcc: lmms-eval gives its")
    assert "no score of their own" in problem.what


def test_a_metric_of_captions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    suite = of("textcaps_val", "textcaps/textcaps_val", "textcaps_CIDEr")
    captions = {"caption_str": ["a red bus"], "image_id": 1, "answer": "a red bus"}
    put(suite.tasks[0], [captions] * 2)
    [problem] = problems(suite, tmp_path)
    assert "no score of their own" in problem.what
    assert "pred" in problem.what
