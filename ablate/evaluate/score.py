"""The evaluate step: every task of a suite through lmms-eval, and each answer kept.

All questions are asked together, then each task is scored. Answers and a task's result are written
as soon as they are there, so that a step that was killed goes on. Where processes share the step,
batches are dealt to them, and the leader scores. lmms-eval is judged by what it returns, never by
having returned.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import suites
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.metrics import count_unread
from ablate.data.prepare import prepare
from ablate.data.questions import prepare_own_questions, read_own_questions
from ablate.errors import UserError
from ablate.evaluate import answer_rows
from ablate.evaluate.containment import contained
from ablate.evaluate.metrics import reader
from ablate.evaluate.own_task.metrics import misfit
from ablate.evaluate.share import nested
from ablate.evaluate.taskfiles import materialise, read_questions, write_own_task
from ablate.files import read_json, write_atomic, write_json
from ablate.home import Home
from ablate.trackers import tracking

if TYPE_CHECKING:
    from lmms_eval.tasks import TaskManager

    from ablate.evaluate.answer_log import Answer
    from ablate.evaluate.asks import Name
    from ablate.worker.context import StepContext

Row = dict[str, Any]
OURS = "ablate"
"""What generates answers unless it is told otherwise."""


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
        from ablate.evaluate.asking import ask

        with contained(suite):
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


def collect(ctx: "StepContext", suite: suites.Suite, asked: "Asked") -> dict[str, Any]:
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


@dataclass(frozen=True)
class Asked:
    """What is asked: folders of lmms-eval's task files, and each task's questions in its order.

    `sets`: the fingerprint of each set that is not drawn; `work`: where parts are kept until the
    end, and what lmms-eval writes; `share`: of each task's questions, how many are asked, and
    `places`, which, unless all are; `model`: what lmms-eval calls who is asked, as prompts may be
    worded for it.
    """

    files: Sequence[Path]
    questions: Mapping[str, Sequence[Row]]
    sets: Mapping[str, str]
    work: Path
    share: float = 1.0
    places: Mapping[str, Sequence[int]] = field(default_factory=dict)
    model: str = "ablate"

    def of_share(self, share: float) -> "Asked":
        """Where a share of each task's questions is asked."""
        if share == 1:
            return self
        places = {task: nested(rows, share) for task, rows in self.questions.items()}
        questions = {
            task: [self.questions[task][n] for n in numbers] for task, numbers in places.items()
        }
        return replace(self, questions=questions, share=share, places=places)

    def number_in_set(self, task: str, number: int) -> int:
        """The number in all of its set of a task's question of this number here."""
        return self.places[task][number] if task in self.places else number

    def part(self, task: suites.SuiteTask) -> Path:
        """Where the task's part of the result is kept; another set's is another file."""
        return self.work / f"{task.task}.{self.sets.get(task.task, 'ours')[:12]}.json"

    @cached_property
    def manager(self) -> "TaskManager":
        """The task files as lmms-eval knows them; it reads all of them, so do it once."""
        from lmms_eval.tasks import TaskManager

        paths = [str(folder) for folder in self.files]
        return TaskManager(include_path=paths, include_defaults=False, model_name=self.model)


def asked_by(ctx: "StepContext", suite: suites.Suite) -> Asked:
    """All that the suite asks: of a world that is drawn, of the published sets, of a user's own.

    UserError where the step's suite is another by now.
    """
    suites.require_same(ctx.spec["suite"])
    benchmarks.require(suite)
    root, work = Home(ctx.home).data, ctx.work / "tasks"
    files, questions, sets = [work], dict[str, Sequence[Row]](), dict[str, str]()
    work.mkdir(parents=True, exist_ok=True)
    if suite.data is not None:
        data = prepare(suite.data, root)
        files.append(materialise(data))
        # Where pictures lie in several folders, their paths start above these.
        questions |= _in(data, read_questions(data), f"{data.name}/" if suite.own else "")
        write_json(ctx.work / "data.json", {"folder": "." if suite.own else data.name})
    benchmarks.write_task_files(suite, work)
    for task in suite.published:
        questions[task.task], sets[task.task] = benchmarks.read_set(task)
    for task in suite.own:
        questions[task.task], sets[task.task] = ask_own(task, root, work)
        write_json(ctx.work / "data.json", {"folder": "."})
    for task in suite.tasks:
        if task.task not in questions:
            raise UserError(f"suite {suite.name}: its data holds no question of {task.task}")
    return Asked(files, questions, sets, work)


def ask_own(task: suites.SuiteTask, root: Path, work: Path) -> tuple[list[Row], str]:
    """The questions of a user's own benchmark and its fingerprint, its task file put into `work`.

    `root`: where what is made of data lies; their images' paths start there.
    """
    assert task.own is not None
    data = prepare_own_questions(task, partial(misfit, task.metric), root)
    rows = read_own_questions(data)
    write_own_task(task, data, rows, work)
    return _in(data, {task.task: rows}, f"{data.name}/")[task.task], task.own.fingerprint()


def _in(data: Path, questions: Mapping[str, Sequence[Row]], above: str) -> dict[str, list[Row]]:
    """Questions of ours with the `files` of their images in `data`, and what is `above` these."""
    folder = data.absolute()
    return {
        task: [
            {
                **row,
                "image": f"{above}{row['image']}",
                "files": [str(folder / image) for image in row.get("images", [row["image"]])],
            }
            for row in rows
        ]
        for task, rows in questions.items()
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


def run_lmms_eval(
    model: Any, task: suites.SuiteTask, asked: Asked, limit: int | None = None
) -> dict[str, Any]:
    """What lmms-eval returns of one task: a `model` of its kind asked, and its answers scored.

    `limit`: how many of its questions are asked, the first; by default all.
    """
    from lmms_eval.evaluator import simple_evaluate

    results: dict[str, Any] = simple_evaluate(
        model=model,
        tasks=[_named(task, asked)],
        task_manager=asked.manager,
        batch_size=model.batch_size or 1,  # of no use there
        limit=limit,
        bootstrap_iters=0,
        process_docs_parallel=1,  # threads would change the order of random draws in some scorers
        distributed_executor_backend="torchrun",  # in one process: no Accelerator is made
        cli_args=argparse.Namespace(
            process_with_media=False,
            reasoning_tags=None,
            output_path=str(asked.work),  # some scorers write submission files
        ),
    )
    return results


def _named(task: suites.SuiteTask, asked: Asked) -> str | Row:
    """The task by its name, so that it is made anew, and so are the scorer's globals."""
    places = asked.places.get(task.task)
    if places is None:
        return task.task
    return {"task": task.task, "process_docs": lambda docs: docs.select(places)}


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
