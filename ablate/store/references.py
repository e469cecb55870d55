"""The step that scores a reference: an evaluation of what was trained elsewhere.

Imports no torch.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ablate.catalog import step_kinds, suites
from ablate.catalog.plugins import digest
from ablate.config.references import Reference
from ablate.config.study import Study
from ablate.store.steps import Step


def reference_steps(study: Study) -> dict[str, Step]:
    """The steps of a study's references that lmms-eval runs, by name."""
    return {
        reference.name: reference_step(reference, study.asks)
        for reference in study.references
        if reference.model is not None
    }


def reference_step(reference: Reference, suite: suites.Suite) -> Step:
    """Its key holds model, arguments, the content of a local checkpoint, and the suite."""
    return _step(str(reference.model), reference.model_args, suite)


@cache
def _step(model: str, model_args: str, suite: suites.Suite) -> Step:
    spec = {"model": model, "model_args": model_args, "suite": suite.identity()}
    if folder := local_checkpoint(model_args):
        spec["checkpoint"] = content_of(folder)
    return Step(step_kinds.REFERENCE, f"{model} {model_args}".strip(), spec)


def local_checkpoint(model_args: str) -> Path | None:
    """The folder that arguments name as `pretrained` or `model`, if it lies here."""
    named = arguments(model_args)
    paths = [
        Path(named[name]) for name in ("pretrained", "model", "model_version") if name in named
    ]
    return next((path for path in paths if path.is_dir()), None)


def arguments(model_args: str) -> Mapping[str, str]:
    """The arguments by name."""
    pairs = (argument.partition("=") for argument in model_args.split(",") if argument)
    return {name: value for name, _, value in pairs}


def content_of(folder: Path) -> dict[str, str]:
    """The sha256 of a checkpoint's files."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {"sha256": digest(files)}
