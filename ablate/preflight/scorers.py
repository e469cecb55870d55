"""Part of the preflight: the scorer of every task, asked about right answers and about empty ones.

What it takes goes the way of an evaluation: lmms-eval's task, its metrics and their aggregation,
and our rows of them. Only the model is none.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmms_eval.api.instance import Instance
from lmms_eval.tasks import get_task_dict

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import suites
from ablate.data.prepare import prepare
from ablate.errors import UserError, nearest
from ablate.evaluate.answer_rows import metric_name, require_score
from ablate.evaluate.asked import Asked, Row, ask_own
from ablate.evaluate.containment import contained
from ablate.evaluate.generating import GeneratingLMM
from ablate.evaluate.metrics import reader, truth
from ablate.evaluate.score import run_task
from ablate.evaluate.taskfiles import materialise, read_questions
from ablate.home import Home
from ablate.preflight.problems import from_error
from ablate.preflight.step import Problem

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

IMAGES, QUESTIONS = 12, 4
"""Images drawn for tasks of ours, enough for each of them, and questions asked of a task."""


def check_scorers(ctx: "StepContext") -> Iterator[Problem]:
    """What is wrong with the sets of the suite, or with what its scorers give."""
    suite = suites.from_identity(ctx.spec["suite"])
    try:
        asked = _asked(ctx, suite)
    except Exception as error:
        yield from_error(f"suite {suite.name}", error, "see that its sets are whole")
        return
    with contained(suite):
        for task in suite.tasks:
            try:
                _score(task, asked, task.file is None and not reader(task.metric).of_samples)
            except Exception as error:  # whatever a scorer raises
                remedy = "choose another metric of it, or leave the task out of the suite"
                problem = from_error(f"task {task.task}, metric {task.metric}", error, remedy)
                yield problem
                if problem.broken:  # the others fail of the same
                    return


class Canned(GeneratingLMM):
    """Gives every other question its right answer, the first among them, and an empty one to the
    rest, having opened their pictures."""

    batch_size = 1

    def generate_until(self, requests: list[Instance]) -> list[str]:
        answers = []
        for request in requests:
            _, _, doc_to_visual, doc_id, task, split = request.args
            doc: Mapping[str, Any] = self.task_dict[task][split][doc_id]
            doc_to_visual(doc)
            right = truth({"doc": doc, "target": doc.get("answer", "")})
            answers.append("" if doc_id % 2 else right)
        return answers


def _asked(ctx: "StepContext", suite: suites.Suite) -> Asked:
    """The first questions of each set; of our own tasks some that are drawn for it."""
    work = ctx.work / "asked"
    files, questions = [work], dict[str, list[Row]]()
    work.mkdir(parents=True, exist_ok=True)
    if suite.data is not None:
        data = prepare(suite.data.model_copy(update={"images": IMAGES}), work)
        files.append(materialise(data))
        questions = read_questions(data)
    benchmarks.require(suite)
    benchmarks.write_task_files(suite, work)
    for task in suite.published:
        questions[task.task] = benchmarks.first_questions(task, QUESTIONS)
    for task in suite.own:
        questions[task.task], _ = ask_own(task, Home(ctx.home).data, work)
    first = {task: rows[:QUESTIONS] for task, rows in questions.items()}
    return Asked(files, first, {}, work)


def _is_scored(task: suites.SuiteTask, asked: Asked) -> bool:
    """Whether any of the first questions enters the metric, as they need not all do.

    UserError for a metric that is not the task's, or one that gives no answer a score.
    """
    if reader(task.metric).of_samples:
        return True
    made = get_task_dict([task.task], asked.manager)[task.task]
    metric, known = metric_name(task), set(made.aggregation())
    if metric not in known:
        raise UserError(f"it has no such metric{nearest(metric, known)}")
    docs = made.test_docs()
    given = [made.process_results(docs[n], [""]) for n in range(min(QUESTIONS, len(docs)))]
    held = [result for result in given if metric in result]
    for result in held:
        require_score(task, result)
    return bool(held)


def _score(task: suites.SuiteTask, asked: Asked, ours: bool) -> None:
    """UserError where the scores are no shares; of our tasks, where right answers are not right."""
    if not asked.questions.get(task.task):
        raise UserError("its data holds no question of it")
    if not _is_scored(task, asked):
        return
    for number, row in enumerate(run_task(Canned(), task, asked, limit=QUESTIONS)["rows"]):
        scored, right = row["score"], number % 2 == 0
        if not 0 <= scored <= 1:
            raise UserError(f"the score of an answer is {scored}, not from 0 to 1")
        if ours and row["weight"] and scored != right:
            answer = f"the right answer {row['truth']!r}" if right else "an empty answer"
            raise UserError(f"{answer} scores {scored}, not {float(right)}")
