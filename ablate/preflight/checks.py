"""The preflight step: all that the steps of a study do but the training, in seconds.

Each check gives the problems it finds; where packages do not import, the rest is not tried.
"""

import importlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import annotators, step_kinds
from ablate.errors import UserError
from ablate.home import Home
from ablate.preflight.problems import from_error
from ablate.preflight.step import Problem, write_problems
from ablate.trackers import build_tracker
from ablate.worker.caches import is_writable
from ablate.worker.run import load_executor

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

MODULES = (
    "ablate.encoders.networks",
    "ablate.train.stage",
    "ablate.evaluate.score",
    "ablate.evaluate.asking",
    "lmms_eval.evaluator",
    "lmms_eval.tasks",
    "optuna.storages.journal",
    "ablate.reports.site",
    "ablate.reports.tables",
)
"""What steps and the report import; what these import in turn comes with them. First is timm as
encoders have it: without wandb, which takes as long as all of torch."""
ROWS = 256
"""Rows of each source of files that are looked at."""


def check(ctx: "StepContext") -> dict[str, Any]:
    """Try everything out; UserError with the first problem, all of them left in the work folder."""
    problems = [*_folders(ctx), *_packages()]
    if not problems:
        from ablate.preflight.models import check_models
        from ablate.preflight.objectives import check_objectives
        from ablate.preflight.scorers import check_scorers

        checks: list[Callable[[StepContext], Iterable[Problem]]] = [
            _executors,
            _annotators,
            _device,
            _trackers,
            _vllm,
            check_models,
            check_objectives,
            _data,
            check_scorers,
            _references,
        ]
        for number, run_check in enumerate(checks, start=1):
            ctx.progress(number, len(checks), run_check.__name__.strip("_").replace("check_", ""))
            problems += run_check(ctx)
    for folder in ctx.work.iterdir():  # what was drawn to be tried
        if folder.is_dir():
            shutil.rmtree(folder)
    if problems:
        write_problems(ctx.work, problems)
        raise UserError("\n".join(map(str, problems)))
    return {"models": len(ctx.spec["models"])}


def _folders(ctx: "StepContext") -> Iterator[Problem]:
    at = Home(ctx.home)
    written = (at.store, at.work, at.leases, at.logs, at.failed, at.studies, at.data)
    for folder in (at.path, *written):
        if not is_writable(folder):
            remedy = "let your user write there, or choose another $ABLATE_HOME"
            yield Problem(f"cannot write below {folder}", remedy, broken=True)
            return


def _packages() -> Iterator[Problem]:
    """What does not import; once for each package that is at fault."""
    seen: set[str] = set()
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken installation fails in many ways
            remedy = "`pip install -c constraints.txt` the package at fault"
            problem = from_error(f"`import {name}` fails", error, remedy)
            words = problem.what.partition(": ")[2]
            if words not in seen:
                seen.add(words)
                yield Problem(problem.what, problem.remedy, broken=True)


def _executors(ctx: "StepContext") -> Iterator[Problem]:
    """The kinds of steps whose executor is not there, as another package's may not be."""
    for kind in ctx.spec["kinds"]:
        try:
            load_executor(step_kinds.find(kind).executor)
        except Exception as error:  # whatever the import of another package raises
            yield from_error(f"kind of step '{kind}'", error, "mend the package that brings it")


def _annotators(ctx: "StepContext") -> Iterator[Problem]:
    """The annotators that cannot be loaded, or give no text and no map of a grey image."""
    import numpy as np

    from ablate.annotators import Annotator

    for choice in ctx.spec.get("annotators", ()):
        name = f"annotator '{annotators.label(choice)}'"
        try:
            annotator = annotators.build(choice)
            annotator.load("cpu")
            grey = np.full((3, 128, 128), 127, dtype=np.uint8)
            if isinstance(annotator, Annotator):
                texts = list(annotator.annotate([grey]))
                if len(texts) != 1 or not isinstance(texts[0], str):
                    yield Problem(f"{name} gives {texts!r}, not a text an image", "mend it")
            else:
                from ablate.evaluate.annotate import results  # with lmms-eval, whose lack is told

                if len(results(annotator, [grey])) != 1:
                    yield Problem(f"{name} does not draw one map an image", "mend it")
        except Exception as error:  # whatever a plug-in or a model's files raise
            yield from_error(name, error, "mend it, or leave it out of the study")


def _references(ctx: "StepContext") -> Iterator[Problem]:
    """The models beside candidates that lmms-eval does not know, or cannot import."""
    from ablate.evaluate.reference import model_class

    for model in ctx.spec.get("references", ()):
        try:
            model_class(model)
        except UserError as error:
            yield Problem(f"references: {error}", "")


def _device(ctx: "StepContext") -> Iterator[Problem]:
    from ablate.config.infra import require_deepspeed

    if ctx.infra.get("strategy") == "deepspeed":
        try:
            require_deepspeed()
        except UserError as error:
            yield Problem(str(error), "", broken=True)
    if ctx.device.startswith("cuda"):
        import torch

        try:
            torch.ones(8, device=ctx.device).sum().item()
        except Exception as error:
            remedy = "see that `nvidia-smi` finds the GPU and torch is built for its driver"
            problem = from_error("the GPU cannot be used", error, remedy)
            yield Problem(problem.what, problem.remedy, broken=True)


def _trackers(ctx: "StepContext") -> Iterator[Problem]:
    """The trackers that cannot be used here, as their package is missing."""
    for choice in ctx.spec.get("trackers", ()):
        try:
            build_tracker(choice).require()
        except UserError as error:
            yield Problem(str(error), "", broken=True)


def _vllm(ctx: "StepContext") -> Iterator[Problem]:
    """The command of vLLM that is not there, or does not start."""
    from ablate.evaluate.serving.server import find_version

    if command := ctx.spec.get("vllm"):
        try:
            find_version(command)
        except UserError as error:
            yield Problem(str(error), "", broken=True)


def _data(ctx: "StepContext") -> Iterator[Problem]:
    """Sources of files: there, readable in their first rows, and with something to learn."""
    from ablate.catalog.data_sources import WorldData, parse, require
    from ablate.catalog.llms import LlmSpec
    from ablate.data.chat import Chat
    from ablate.model.language import load_tokenizer

    llms = {repr(spec["model"]["llm"]): spec["model"]["llm"] for spec in ctx.spec["models"]}
    chats = []
    for values in llms.values():
        try:
            chats.append(Chat(load_tokenizer(LlmSpec.from_json(values))))
            yield from _template(values["name"], chats[-1])
        except Exception as error:
            remedy = "mend the tokenizer's files or its chat template"
            yield from_error(f"llm '{values['name']}': its tokenizer", error, remedy)
    for raw in ctx.spec["data"]:
        source = parse(raw)
        if isinstance(source, WorldData):
            continue
        try:
            require([source])
        except UserError as error:
            yield Problem(str(error), "")
            continue
        for name, files in source.parts.items():
            try:
                yield from _rows(name, files, chats)
            except Exception as error:
                yield from_error(f"data {name}", error, "mend the data")


def _template(name: str, chat: Any) -> Iterator[Problem]:
    asked = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    if not chat.encode([asked])[0].learn.any():
        remedy = "mark what the assistant says in its chat template with {% generation %}"
        yield Problem(f"llm '{name}': its chat template shows no answer to learn", remedy)
    chat.prompts([asked[:1]])


def _rows(name: str, files: Any, chats: list[Any]) -> Iterator[Problem]:
    """The first rows of one source: any that can be used, by each language model, and an answer."""
    from ablate.data.images import read_image
    from ablate.data.readers import reader
    from ablate.data.rows import Understanding

    rows = reader(files.conversations)
    chunk = list(islice(iter(rows), ROWS))
    for chat in chats:
        good, bad = Understanding(rows, files.images, chat).rows(chunk)
        if bad and (not good or files.max_bad == 0):
            yield Problem(bad[0], f"mend the row, or allow bad ones (data.{name}.max_bad)")
            return
        if good and not any(row.spoken for row in good):
            what = (
                f"data {name}: every answer of {files.conversations} is empty, as far as its row "
            )
            yield Problem(f"{what}{good[-1].number}", "there is nothing to learn: mend the data")
            return
        seen = next((row.images[0] for row in good if row.images), None)
        if seen is not None and chat is chats[0]:
            read_image(seen if isinstance(seen, bytes) else (files.images or Path()) / seen, None)
