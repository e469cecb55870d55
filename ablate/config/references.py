"""References: closed or finished models that a study's candidates are shown beside, and are never
held against by a search. Nothing here imports torch, and no key of an API is ever in a study."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, model_validator

from ablate.catalog import published
from ablate.catalog.published import Table
from ablate.catalog.suites import Suite
from ablate.errors import UserError, nearest
from ablate.parsing.validation import Fields, mistake

SECRET = re.compile(r"key|token(?!izer|s$)|secret|password", re.IGNORECASE)
"""Arguments of a model that would write a secret down; not a tokenizer, nor a number of tokens."""


def _words(value: Any) -> Any:
    """Arguments as one text, where they are written as a mapping."""
    if isinstance(value, dict):
        return ",".join(f"{name}={argument}" for name, argument in value.items())
    return value


class Reference(Fields):
    """A row set apart, either of a model that lmms-eval runs, on the study's suite, or of numbers.

    `model`: lmms-eval's name of it, such as `llava_hf` or `openai`, another package's too;
    `model_args` what it is started with, as `--model_args` takes it, or a mapping. `published`: a
    row of `published.json` as TABLE/ROW, or benchmark -> number in 0..100 with the `source`.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    kind: Literal["reference"] = "reference"
    model: str | None = None
    model_args: Annotated[str, BeforeValidator(_words)] = ""
    published: str | Annotated[dict[str, float], Strict(False), Field(min_length=1)] | None = None
    source: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "Reference":
        if (self.model is None) == (self.published is None):
            raise mistake("give it a model of lmms-eval, or published numbers: one of the two")
        if self.model is None and self.model_args:
            raise mistake("model_args are a model's")
        if isinstance(self.published, dict) and not self.source:
            raise mistake("numbers need their source, in words or as an address")
        for argument in filter(None, self.model_args.split(",")):
            name, equals, _ = argument.partition("=")
            if not equals:
                raise mistake(f"model_args are name=value, with commas between, got '{argument}'")
            if SECRET.search(name):
                raise mistake(
                    f"model_args: '{name}' looks like a secret; leave it to the environment, such "
                    "as OPENAI_API_KEY"
                )
        return self

    def scores(self, suite: Suite) -> dict[str, float]:
        """Published numbers in 0..100 by task of a suite. UserError for a row or benchmark that
        there is not."""
        if isinstance(self.published, dict):
            return _by_task(self.published, suite)
        if self.published is None:
            return {}
        table, row = self.row()
        columns = published.book().columns
        measured = {
            column: (columns[column].benchmark or column, columns[column].full)
            for column in table.columns
        }
        tasks = {task.benchmark: task.task for task in suite.published if task.benchmark}
        scores: dict[str, float] = {}
        for column, (benchmark, full) in measured.items():
            value = table.printed(row, column)
            if benchmark in tasks and full and value is not None and not columns[column].note:
                scores.setdefault(tasks[benchmark], 100.0 * value / full)
        return scores

    def row(self) -> tuple[Table, str]:
        """The published table and row that it names; UserError where there is none."""
        table_id, slash, row = str(self.published).partition("/")
        if not slash:
            raise UserError(f"'{self.published}': write it as TABLE/ROW, such as T7_main/Eagle-X5")
        table = published.table(table_id)
        table.row(row)
        return table, row

    @property
    def words(self) -> str:
        """What it is, in words."""
        if self.model is not None:
            return f"{self.model} of lmms-eval" + f" ({self.model_args})" * bool(self.model_args)
        if isinstance(self.published, dict):
            return f"published: {self.source}"
        table, row = self.row()
        source = published.book().sources[table.source].what
        return f"published: {row} in {table.title}, {source}"


def _by_task(numbers: dict[str, float], suite: Suite) -> dict[str, float]:
    """Numbers by task, given by a task's name, title or benchmark."""
    named = {
        name: task.task for task in suite.tasks for name in (task.benchmark, task.title, task.task)
    }
    scores = {}
    for name, number in numbers.items():
        if name not in named:
            hint = nearest(name, filter(None, named))
            raise UserError(f"suite {suite.name} asks no '{name}'{hint}")
        if not 0 <= number <= 100:
            raise UserError(f"{name}: a number in 0..100, got {number}")
        scores[named[name]] = number
    return scores
