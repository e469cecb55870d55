"""The step `reference`: a model that lmms-eval runs itself, asked what candidates are asked.

What it answers is scored and kept as theirs are. A task's result is written as soon as it is there:
what was paid for is not asked again. Keys of an API are the environment's, and are never written.
"""

import dataclasses
import inspect
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import suites
from ablate.errors import UserError, nearest
from ablate.evaluate.asked import asked_by
from ablate.evaluate.containment import contained
from ablate.evaluate.score import collect, run_task
from ablate.files import read_json, write_json
from ablate.store.references import arguments, content_of, local_checkpoint

if TYPE_CHECKING:
    from ablate.worker.context import StepContext


def evaluate_reference(ctx: "StepContext") -> dict[str, Any]:
    """Score the model on the step's suite, in one process. Leaves and returns what `evaluate` does,
    and the days of its first and last answers: an API's model may change behind its name.

    UserError for a model that lmms-eval does not know, or whose packages are not here.
    """
    if not ctx.world.leads:
        return {}
    model, model_args = ctx.spec["model"], ctx.spec["model_args"]
    folder = local_checkpoint(model_args)
    if ctx.spec.get("checkpoint") != (content_of(folder) if folder else None):
        raise UserError(f"{folder or model_args}: the checkpoint has changed since it was planned")
    suite = suites.from_identity(ctx.spec["suite"])
    asked = dataclasses.replace(asked_by(ctx, suite), model=model)
    missing = [task for task in suite.tasks if not asked.part(task).is_file()]
    with contained(suite):
        built = _build(model, model_args, ctx.device) if missing else None
        for number, task in enumerate(missing, start=len(suite.tasks) - len(missing)):
            ctx.progress(number, len(suite.tasks), task.task)
            part = run_task(built, task, asked)
            if not any(str(row["answer"]).strip() for row in part["rows"]):
                # Many of lmms-eval's models answer nothing where they fail.
                raise RuntimeError(f"{model} answers nothing to all of {task.task}: see its log")
            write_json(asked.part(task), {**part, "day": datetime.now(UTC).date().isoformat()})
    answered = sorted(_day(asked.part(task)) for task in suite.tasks)
    return {**collect(ctx, suite, asked), "answered": [answered[0], answered[-1]]}


def _day(part: Path) -> str:
    return str(read_json(part)["day"])


def model_class(model: str) -> Any:
    """lmms-eval's class of it. UserError for one that there is not, or that lacks a package."""
    import lmms_eval.models as models

    known = models.list_available_models(include_aliases=True)
    if model not in known:
        raise UserError(f"lmms-eval knows no model '{model}'{nearest(model, known)}")
    try:
        return models.get_model(model)
    except ImportError as error:
        lacks = error.name or str(error)
        raise UserError(f"model '{model}' of lmms-eval needs the package {lacks}") from error


def _build(model: str, model_args: str, device: str) -> Any:
    """The model as lmms-eval starts it, on this device where its arguments do not say otherwise."""
    kind = model_class(model)
    takes = inspect.signature(kind.__init__).parameters.keys() - arguments(model_args).keys()
    ours = {"batch_size": 1, "device": device, "device_map": device}
    given = {name: value for name, value in ours.items() if name in takes}
    built = kind.create_from_arg_string(model_args, given)
    built.clean = lambda: None  # lmms-eval's own would delete the model after the first task
    return built
