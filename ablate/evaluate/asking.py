"""The questions of a suite put to a trained candidate: those of all tasks together, each once.

So questions of several tasks about one image stand in one batch, which sees and reads it once. Each
answer is kept as it comes (see `answer_log`); lmms-eval is heard for its questions first, and told
the answers when it scores them.
"""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from lmms_eval.api.instance import Instance

from ablate.catalog import suites
from ablate.data.maps import Maps
from ablate.data.notes import Notes
from ablate.evaluate.adapter import AblateLMM, NothingToScoreError
from ablate.evaluate.answer_log import OURS, Answer, AnswerLog, Key
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.asked import Asked, run_lmms_eval
from ablate.evaluate.asks import Name, name_of
from ablate.evaluate.generating import GeneratingLMM
from ablate.evaluate.serving.adapter import adapter_of

if TYPE_CHECKING:
    from ablate.worker.context import StepContext


class Heard(Exception):  # noqa: N818  # it is no error
    """Ends lmms-eval's run of a task whose questions are known now."""


class Listener(GeneratingLMM):
    """Is asked by lmms-eval, and keeps the `requests`."""

    batch_size = 1

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Instance] = []

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Raises `Heard`."""
        self.requests += requests
        raise Heard


class Told(GeneratingLMM):
    """Gives lmms-eval answers that are there."""

    batch_size = 1

    def __init__(self, answers: Mapping[Name, str]) -> None:
        super().__init__()
        self.answers = answers

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answer to each."""
        return [self.answers[name_of(request)] for request in requests]


class Keeper:
    """Keeps what the adapter answers in a log, and tells the step how far it is.

    `keys`: what the log calls the questions; `done`: how many of `total` were answered before.
    """

    def __init__(
        self,
        ctx: "StepContext",
        log: AnswerLog,
        keys: Mapping[Name, Key],
        adapter: AblateLMM,
        done: int,
        total: int,
    ) -> None:
        self.ctx, self.log, self.keys, self.adapter = ctx, log, keys, adapter
        self.done, self.total = done, total
        self._since, self._task = time.monotonic(), ""

    def __call__(self, answered: int, answers: Mapping[Name, str]) -> None:
        """So many are answered by all processes, and these now by this one."""
        if answers:
            now = time.monotonic()
            each = (now - self._since) / len(answers) / self.ctx.world.size
            self._since = now
            self.log.append(
                {
                    self.keys[name]: answer_of(self.adapter, name, text, each)
                    for name, text in answers.items()
                }
            )
            self._task, _ = next(iter(answers))
        self.ctx.progress(self.done + answered, self.total, self._task)


def answer_of(adapter: AblateLMM, name: Name, text: str, seconds: float) -> Answer:
    """What the adapter says to a question of this name."""
    return Answer(text, seconds, adapter.named.get(name, []), adapter.generated_by or OURS)


def ask(ctx: "StepContext", suite: suites.Suite, asked: Asked) -> dict[Name, Answer]:
    """What the step's candidate says to all that is asked, or has said before.

    Of processes that share the step the leader alone gets all answers.
    """
    log = AnswerLog(ctx.prefix, asked.share, ctx.world.rank)
    keys = {
        (task.task, number): (asked.part(task).stem, asked.number_in_set(task.task, number))
        for task in suite.tasks
        for number in range(len(asked.questions[task.task]))
    }
    before = log.answers(ctx.world.agree(log.rows()))
    answers = {name: before[key] for name, key in keys.items() if key in before}
    new = {task for task, _ in keys.keys() - answers.keys()}
    if not new:
        return answers
    listener = Listener()
    for task in suite.tasks:
        if task.task in new:
            with suppress(Heard):
                run_lmms_eval(listener, task, asked)
    [trained] = ctx.parents.values()
    answerer = Answerer.load(trained)
    with adapter_of(ctx, answerer, blank=suite.blank) as adapter:
        show_notes(ctx, answerer, adapter, asked)
        _prepare(adapter, keys, asked)
        adapter.task_dict = listener.task_dict
        adapter.known = {name: answer.text for name, answer in answers.items()}
        resumed = sum(not answer.taken_over for answer in answers.values())
        left = len(keys) - len(answers)
        adapter.watch = Keeper(ctx, log, keys, adapter, resumed, resumed + left)
        began = time.monotonic()
        with suppress(NothingToScoreError):
            texts = adapter.generate_until(listener.requests)
            each = (time.monotonic() - began) / left
            for name, text in zip(map(name_of, listener.requests), texts, strict=True):
                answers.setdefault(name, answer_of(adapter, name, text, each))
    return answers


def _prepare(adapter: AblateLMM, names: Collection[Name], asked: Asked) -> None:
    """Tell the adapter what these questions show."""
    rows = {(task, number): asked.questions[task][number] for task, number in names}
    adapter.shown = {name: row["image"] for name, row in rows.items()}
    adapter.files = {name: row["files"] for name, row in rows.items() if "files" in row}


def show_notes(ctx: "StepContext", answerer: Answerer, adapter: AblateLMM, asked: Asked) -> None:
    """Have the adapter show what annotators say and draw of images, as in training."""

    def row_of(name: Name) -> tuple[str, str]:
        return name[0], str(asked.number_in_set(*name))

    if notes := Notes.of(answerer.outputs, ctx.annotated):
        adapter.notes = lambda name, images: notes.of_question(*row_of(name), adapter.chat, images)
    if maps := Maps.of(answerer.drawers, ctx.annotated, padded=answerer.own_canvas is not None):
        adapter.maps = lambda pixels, name, number: maps.behind(pixels, *row_of(name), number)
