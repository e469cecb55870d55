"""What an evaluation asks: a suite's questions, and lmms-eval's way to ask and score them."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import suites
from ablate.data.prepare import prepare
from ablate.data.questions import prepare_own_questions, read_own_questions
from ablate.errors import UserError
from ablate.evaluate.own_task.metrics import misfit
from ablate.evaluate.share import nested
from ablate.evaluate.taskfiles import materialise, read_questions, write_own_task
from ablate.files import write_json
from ablate.home import Home

if TYPE_CHECKING:
    from lmms_eval.tasks import TaskManager

    from ablate.worker.context import StepContext

Row = dict[str, Any]


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
