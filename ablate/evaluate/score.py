"""The evaluate step: every task of a suite through lmms-eval, and each answer kept.

All questions are asked together, then each task is scored. Answers and a task's result are written
as soon as they are there, so that a step that was killed goes on. Where processes share the step,
batches are dealt to them, and the leader scores. lmms-eval is judged by what it returns, never by
having returned.
"""

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablate.catalog import suites
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.metrics import count_unread
from ablate.evaluate import answer_rows
from ablate.evaluate.answer_log import OURS
from ablate.evaluate.asked import Asked, Row, asked_by, run_lmms_eval
from ablate.evaluate.containment import contained
from ablate.evaluate.metrics import reader
from ablate.files import read_json, write_atomic, write_json
from ablate.trackers import tracking

if TYPE_CHECKING:
    from ablate.evaluate.answer_log import Answer
    from ablate.evaluate.asks import Name
    from ablate.worker.context import StepContext


def evaluate(ctx: "StepContext") -> dict[str, Any]:
    """Score the trained candidate on the step's suite.

    Leaves `answers.jsonl`, a row a question: task, id, image (a path below the folder of
    `data.json`; of a published benchmark `<task>/<hash>`), question, truth, answer, score (0..1)
    and weight; a task's metric is the weighted mean of its scores (see `answer_rows`), and how many
    answers it could not read is in the result. Leaves `data.json`, the name of the folder below
    `data` in the home from which images' paths start, where there is one.
    Returns each task's score and their mean, the composite, in 0..100, and the fingerprints of the
    sets that were asked. Where the step asks a share of the `questions`, all of it is of those (see
    `share`); `taken_over` says how many of the answers a smaller share had got before. Where the
    language model names experts, `named` says of which share of the images each was; `generated_by`
    names what generated the answers, where that is not the model itself alone. Raises
    `UserError` for a task without questions, a set that is missing or an image that cannot be read,
    `RuntimeError` where lmms-eval's figures do not hold.
    """
    suite = suites.from_identity(ctx.spec["suite"])
    with ctx.world.leader_first():
        asked = asked_by(ctx, suite).of_share(ctx.spec.get("questions", 1.0))
    missing = [task.task for task in suite.tasks if not asked.part(task).is_file()]
    missing = ctx.world.agree(missing)
    if missing:
        with contained(suite):
            from ablate.evaluate.asking import ask

            answers = ask(ctx, suite, asked)
            for task in suite.tasks if ctx.world.leads else ():
                if task.task in missing:
                    write_json(asked.part(task), _score(task, asked, answers))
    if not ctx.world.leads:
        return {}
    scored = collect(ctx, suite, asked)
    if not asked.places:
        shutil.rmtree(ctx.prefix, ignore_errors=True)
    return scored


def collect(ctx: "StepContext", suite: suites.Suite, asked: Asked) -> dict[str, Any]:
    """What the parts of all tasks come to: see `evaluate`. Their folder is taken away."""
    parts = {task.task: read_json(asked.part(task)) for task in suite.tasks}
    rows = [row for part in parts.values() for row in part["rows"]]
    rows.sort(key=lambda row: (row["task"], row["id"]))
    write_atomic(ctx.work / "answers.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    unread = count_unread({task.task: task.metric for task in suite.tasks}, rows)
    scores = {
        task.task: {
            "metric": task.metric,
            "value": parts[task.task]["value"] * task.to_percent,
            "n": len(parts[task.task]["rows"]),
            "unread": unread[task.task],
        }
        for task in suite.tasks
    }
    composite = sum(score["value"] for score in scores.values()) / len(scores)
    with tracking(ctx, "score") as tracked:
        by_task = {task: score["value"] for task, score in scores.items()}
        tracked.tell("score", {"step": 0, "composite": composite, **by_task})
    taken_over = sum(part.get("taken_over", 0) for part in parts.values())
    named = [chosen for part in parts.values() for chosen in part.get("named", ())]
    generated_by = {by for part in parts.values() for by in part.get("generated_by", [OURS])}
    shutil.rmtree(asked.work)
    return {
        "scores": scores,
        "composite": composite,
        "questions": len(rows),
        **({"taken_over": taken_over} if taken_over else {}),
        **({"named": _shares(ctx, named)} if named else {}),
        **({"generated_by": sorted(generated_by)} if generated_by != {OURS} else {}),
        "seconds_generate": sum(part["seconds"] for part in parts.values()),
        "sets": dict(asked.sets),
    }


def _shares(ctx: "StepContext", named: Sequence[Sequence[bool]]) -> dict[str, float]:
    """Of how many images each expert was named, as a share of all that were asked about."""
    [trained] = ctx.parents.values()
    _, *experts = read_json(trained / "spec.json")["spec"]["model"]["encoders"]
    titles = [EncoderSpec.from_json(expert).title for expert in experts]
    return {
        title: sum(of_expert) / len(named)
        for title, of_expert in zip(titles, zip(*named, strict=True), strict=True)
    }


def _score(task: suites.SuiteTask, asked: Asked, answers: Mapping["Name", "Answer"]) -> Row:
    """What the answers to a task's questions come to; there are those to other tasks', too."""
    from ablate.evaluate.asking import Told

    of_task = {name: answer for name, answer in answers.items() if name[0] == task.task}
    part = run_task(Told({name: answer.text for name, answer in of_task.items()}), task, asked)
    asked_here = [answer for answer in of_task.values() if not answer.taken_over]
    return {
        **part,
        "seconds": sum(answer.seconds for answer in asked_here),
        "taken_over": len(of_task) - len(asked_here),
        "named": [chosen for answer in of_task.values() for chosen in answer.named],
        "generated_by": sorted({answer.by for answer in of_task.values()}),
    }


def run_task(
    model: Any, task: suites.SuiteTask, asked: Asked, limit: int | None = None
) -> dict[str, Any]:
    """One task through lmms-eval: {"value": the metric, "seconds", "rows": of answers.jsonl}.

    As `run_lmms_eval`. Raises `RuntimeError` where what comes back is not one finite score over all
    its questions.
    """
    started = time.monotonic()
    questions = asked.questions[task.task]
    results = run_lmms_eval(model, task, asked, limit)
    seconds = time.monotonic() - started
    samples = sorted(results["samples"][task.task], key=lambda sample: sample["doc_id"])
    _check_asked(task, samples, questions)
    rows = answer_rows.rows(task, samples, questions)
    value = _figure(task, results["results"][task.task], samples, rows)
    return {"value": value, "seconds": seconds, "rows": rows}


def _check_asked(task: suites.SuiteTask, samples: Sequence[Row], questions: Sequence[Row]) -> None:
    """Hold what lmms-eval asked against the questions there are."""
    if [sample["doc"].get("question", "") for sample in samples] != [
        row["question"] for row in questions
    ]:
        raise RuntimeError(
            f"{task.task}: lmms-eval answered {len(samples)} of {len(questions)} questions, "
            "or others than were asked"
        )


def _figure(
    task: suites.SuiteTask, results: Row, samples: Sequence[Row], rows: Sequence[Row]
) -> float:
    """lmms-eval's figure of the metric, held against the rows made of its samples."""
    weight = sum(row["weight"] for row in rows)
    mean = sum(row["weight"] * row["score"] for row in rows) / weight if weight else 0.0
    if reader(task.metric).of_samples:  # a figure that lmms-eval does not know
        return 100.0 * mean / task.to_percent
    figure = results.get(task.result, "missing")
    number = isinstance(figure, int | float | None)
    value = float(figure or 0.0) if number else math.nan  # MathVista: None where all is wrong
    value = answer_rows.rescale(task, value, samples)
    share = value * task.to_percent / 100.0
    if not math.isclose(share, mean, rel_tol=0.0, abs_tol=answer_rows.rounding(task)):
        raise RuntimeError(
            f"{task.task}: lmms-eval's {task.metric} is {figure!r}, but its rows give {mean}"
        )
    return value
