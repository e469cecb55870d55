"""The evaluate step: every task of a suite through lmms-eval, and each answer kept.

A task's result is written as soon as it is there, so that a step that was killed goes on with the
next task. lmms-eval is judged by what it returns, never by having returned.
"""

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ablate.data.prepare import prepare
from ablate.errors import UserError
from ablate.evaluate import suites
from ablate.evaluate.taskfiles import materialise, read_questions
from ablate.files import read_json, write_atomic, write_json

if TYPE_CHECKING:
    from ablate.evaluate.adapter import AblateLMM
    from ablate.worker import StepContext

Row = dict[str, Any]


def evaluate(ctx: "StepContext") -> dict[str, Any]:
    """Score the finetuned candidate on the step's suite.

    Leaves `answers.jsonl`, a row a question: task, id, image (a path below the data folder),
    question, truth, answer, score (0..1) and weight; a task's metric is the weighted mean of its
    scores (see `statistics`). Leaves `data.json`, the name of the data folder. Returns each task's
    score and their mean, the composite, in 0..100. Raises `UserError` for a task without questions
    or an image that cannot be read, `RuntimeError` where lmms-eval's figures do not hold.
    """
    suite = suites.from_identity(ctx.spec["suite"])
    data = prepare(suite.data, ctx.home / "data")
    questions = read_questions(data)
    for task in suite.tasks:
        if task.task not in questions:
            raise UserError(f"suite {suite.name}: its data holds no question of {task.task}")
    wanted = [task for task in suite.tasks if not _part(ctx.work, task).is_file()]
    if wanted:
        with _contained():
            _ask(ctx, suite, wanted, questions, materialise(data))
    parts = {task.task: read_json(_part(ctx.work, task)) for task in suite.tasks}
    rows = [row for part in parts.values() for row in part["rows"]]
    rows.sort(key=lambda row: (row["task"], row["id"]))
    write_atomic(ctx.work / "answers.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    write_json(ctx.work / "data.json", {"folder": data.name})
    scores = {
        task.task: {
            "metric": task.metric,
            "value": parts[task.task]["value"] * task.to_percent,
            "n": len(parts[task.task]["rows"]),
        }
        for task in suite.tasks
    }
    shutil.rmtree(ctx.work / "tasks")
    return {
        "scores": scores,
        "composite": sum(score["value"] for score in scores.values()) / len(scores),
        "questions": len(rows),
        "seconds_generate": sum(part["seconds"] for part in parts.values()),
    }


def _part(work: Path, task: suites.SuiteTask) -> Path:
    return work / "tasks" / f"{task.task}.json"


def _ask(
    ctx: "StepContext",
    suite: suites.Suite,
    tasks: Sequence[suites.SuiteTask],
    questions: dict[str, list[Row]],
    folder: Path,
) -> None:
    """Run `tasks`, writing the part of each; tells the context how far it is."""
    from ablate.evaluate.adapter import AblateLMM, Answerer

    total = sum(len(questions[task.task]) for task in suite.tasks)
    done = total - sum(len(questions[task.task]) for task in tasks)
    adapter = AblateLMM(
        Answerer.load(ctx.parents["finetune"]), device=ctx.device, blank=suite.blank
    )
    for task in tasks:
        adapter.watch = lambda answered, task=task, before=done: ctx.progress(
            before + answered, total, task.task
        )
        write_json(_part(ctx.work, task), run_task(adapter, folder, task, questions[task.task]))
        done += len(questions[task.task])


def run_task(
    adapter: "AblateLMM", folder: Path, task: suites.SuiteTask, questions: Sequence[Row]
) -> dict[str, Any]:
    """One task through lmms-eval: {"value": the metric, "seconds", "rows": of answers.jsonl}.

    Raises `RuntimeError` where what comes back is not one finite score over all `questions`.
    """
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    started = time.monotonic()
    tasks = TaskManager(include_path=str(folder), include_defaults=False, model_name="ablate")
    results = simple_evaluate(
        model=adapter,
        tasks=[task.task],
        task_manager=tasks,
        batch_size=adapter.batch_size,
        bootstrap_iters=0,
        process_docs_parallel=1,  # threads would change the order of random draws in some scorers
        distributed_executor_backend="torchrun",  # in one process: no Accelerator is made
        cli_args=argparse.Namespace(process_with_media=False, reasoning_tags=None),
    )
    seconds = time.monotonic() - started
    value = results["results"][task.task].get(f"{task.metric},none")
    samples = sorted(results["samples"][task.task], key=lambda sample: sample["doc_id"])
    rows = [_row(task, sample) for sample in samples]
    _check(task, value, rows, questions)
    return {"value": float(value), "seconds": seconds, "rows": rows}


def _row(task: suites.SuiteTask, sample: Row) -> Row:
    """lmms-eval's sample as a row of answers.jsonl."""
    doc, scored = sample["doc"], sample[task.metric]
    if not isinstance(scored, dict):
        scored = {"score": scored, "weight": 1.0}
    return {
        "task": task.task,
        **{field: doc[field] for field in ("id", "image", "question")},
        "truth": doc["answer"],
        "answer": sample["filtered_resps"][0],
        "score": float(scored["score"]),
        "weight": float(scored["weight"]),
    }


def _check(
    task: suites.SuiteTask, value: Any, rows: Sequence[Row], questions: Sequence[Row]
) -> None:
    """Hold lmms-eval's figure against the rows it came from and the questions there are."""
    if [row["id"] for row in rows] != [question["id"] for question in questions]:
        raise RuntimeError(
            f"{task.task}: lmms-eval answered {len(rows)} of {len(questions)} questions, "
            "or others than were asked"
        )
    weight = sum(row["weight"] for row in rows)
    mean = sum(row["weight"] * row["score"] for row in rows) / weight if weight else 0.0
    if not isinstance(value, int | float) or not math.isclose(value, mean, abs_tol=1e-9):
        raise RuntimeError(
            f"{task.task}: lmms-eval's {task.metric} is {value!r}, but its rows give {mean}"
        )


@contextmanager
def _contained() -> Iterator[None]:
    """Keep lmms-eval's side effects here: prints to stdout, seeds it sets, ranks it reads."""
    ranks = {name: os.environ.pop(name) for name in _RANKS if name in os.environ}
    python, numpy = random.getstate(), np.random.get_state()
    with redirect_stdout(sys.stderr), torch.random.fork_rng():
        import lmms_eval.evaluator  # noqa: F401  (on import it has loguru write to stdout)
        from loguru import logger

        logger.remove()
        logger.add(sys.stderr, level="INFO")
        try:
            yield
        finally:
            logger.remove()  # the step's log it writes to is about to be closed
            os.environ.update(ranks)
            random.setstate(python)
            np.random.set_state(numpy)


_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
