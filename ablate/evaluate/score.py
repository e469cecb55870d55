"""The evaluate step: every task of a suite through lmms-eval, and each answer kept.

A task's result is written as soon as it is there, so that a step that was killed goes on with the
next task. Where processes share the step, the batches of each task are dealt to them, and the
leader scores. lmms-eval is judged by what it returns, never by having returned.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import suites
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.metrics import count_unread
from ablate.data.maps import Maps
from ablate.data.notes import Notes
from ablate.data.prepare import prepare
from ablate.data.questions import prepare_own_questions, read_own_questions
from ablate.errors import UserError
from ablate.evaluate import answer_rows
from ablate.evaluate import share as share_of
from ablate.evaluate.containment import contained
from ablate.evaluate.metrics import reader
from ablate.evaluate.own_task.metrics import misfit
from ablate.evaluate.taskfiles import materialise, read_questions, write_own_task
from ablate.files import read_json, write_atomic, write_json
from ablate.home import Home
from ablate.trackers import tracking

if TYPE_CHECKING:
    from lmms_eval.tasks import TaskManager

    from ablate.evaluate.adapter import AblateLMM
    from ablate.evaluate.answerer import Answerer
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
        asked = asked_by(ctx, suite).share(ctx.spec.get("questions", 1.0))
    missing = [task.task for task in suite.tasks if not asked.part(task).is_file()]
    missing = ctx.world.agree(missing)
    if missing:
        with contained(suite):
            _ask(ctx, suite, [task for task in suite.tasks if task.task in missing], asked)
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
    generated_by = {part.get("generated_by", OURS) for part in parts.values()}
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
    end, and what lmms-eval writes; `places`: of a task's questions among all of its set, where a
    share is asked; `model`: what lmms-eval calls who is asked, as prompts may be worded for it.
    """

    files: Sequence[Path]
    questions: Mapping[str, Sequence[Row]]
    sets: Mapping[str, str]
    work: Path
    places: Mapping[str, Sequence[int]] = field(default_factory=dict)
    model: str = "ablate"

    def share(self, share: float) -> "Asked":
        """Where a share of each task's questions is asked."""
        if share == 1:
            return self
        places = {task: share_of.nested(rows, share) for task, rows in self.questions.items()}
        questions = {
            task: [self.questions[task][n] for n in numbers] for task, numbers in places.items()
        }
        return replace(self, questions=questions, places=places)

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


def _ask(
    ctx: "StepContext", suite: suites.Suite, tasks: Sequence[suites.SuiteTask], asked: Asked
) -> None:
    """Run `tasks`, writing the part of each; tells the context how far it is."""
    from ablate.evaluate.adapter import NothingToScoreError
    from ablate.evaluate.answerer import Answerer
    from ablate.evaluate.serving.adapter import adapter_of

    known = {task.task: _known(ctx, task, asked) for task in tasks}
    sizes = {
        task.task: len(asked.questions[task.task]) - len(known.get(task.task, ()))
        for task in suite.tasks
    }
    total = sum(sizes.values())
    done = total - sum(sizes[task.task] for task in tasks)
    [trained] = ctx.parents.values()
    answerer = Answerer.load(trained)
    with adapter_of(ctx, answerer, blank=suite.blank) as adapter:
        show_notes(ctx, answerer, adapter, asked)
        for task in tasks:
            adapter.known = known[task.task]
            rows = dict(_named_rows(task, asked))
            adapter.shown = {name: row["image"] for name, row in rows.items()}
            adapter.files = {n: row["files"] for n, row in rows.items() if "files" in row}
            adapter.watch = lambda answered, task=task, before=done: ctx.progress(
                before + answered, total, task.task
            )
            with suppress(NothingToScoreError):
                part = run_task(adapter, task, asked)
                if asked.places:
                    answers = {row["id"]: adapter.answered[name] for name, row in rows.items()}
                    share_of.leave(ctx.prefix / asked.part(task).name, answers)
                part |= {"named": adapter.named} if adapter.named else {}
                part |= {"generated_by": adapter.generated_by or OURS}
                write_json(asked.part(task), {**part, "taken_over": len(known[task.task])})
            done += sizes[task.task]


def show_notes(
    ctx: "StepContext", answerer: "Answerer", adapter: "AblateLMM", asked: Asked
) -> None:
    """Have the adapter show what annotators say and draw of images, as in training."""

    def row_of(name: tuple[str, int]) -> tuple[str, str]:
        task, number = name
        places = asked.places.get(task)
        return task, str(places[number] if places else number)

    if notes := Notes.of(answerer.outputs, ctx.annotated):
        adapter.notes = lambda name, images: notes.of_question(*row_of(name), adapter.chat, images)
    if maps := Maps.of(answerer.drawers, ctx.annotated, padded=answerer.own_canvas is not None):
        adapter.maps = lambda pixels, name, number: maps.behind(pixels, *row_of(name), number)


def _known(ctx: "StepContext", task: suites.SuiteTask, asked: Asked) -> dict[tuple[str, int], str]:
    """What a smaller share has answered of a task, as the adapter is told it."""
    before = ctx.world.agree(share_of.answered(ctx.prefix / asked.part(task).name))
    return {
        name: before[row["id"]] for name, row in _named_rows(task, asked) if row["id"] in before
    }


def _named_rows(task: suites.SuiteTask, asked: Asked) -> Iterator[tuple[tuple[str, int], Row]]:
    """The task's questions, each with what the adapter calls it."""
    for index, row in enumerate(asked.questions[task.task]):
        yield (task.task, index), row


def run_task(
    adapter: Any, task: suites.SuiteTask, asked: Asked, limit: int | None = None
) -> dict[str, Any]:
    """One task through lmms-eval: {"value": the metric, "seconds", "rows": of answers.jsonl}.

    `adapter`: an `AblateLMM`, or another model of lmms-eval.
    `limit`: how many of its questions are asked, the first; by default all.
    Raises `RuntimeError` where what comes back is not one finite score over all its questions.
    """
    from lmms_eval.evaluator import simple_evaluate

    started = time.monotonic()
    questions = asked.questions[task.task]
    results = simple_evaluate(
        model=adapter,
        tasks=[_named(task, asked)],
        task_manager=asked.manager,
        batch_size=adapter.batch_size or 1,  # of no use there
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
    seconds = time.monotonic() - started
    samples = sorted(results["samples"][task.task], key=lambda sample: sample["doc_id"])
    _check_asked(task, samples, questions)
    rows = answer_rows.rows(task, samples, questions)
    value = _figure(task, results["results"][task.task], samples, rows)
    return {"value": value, "seconds": seconds, "rows": rows}


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
