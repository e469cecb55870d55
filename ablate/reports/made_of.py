"""What a report is made of, as one hash: while that stays, all of its pages do.

It is of results as they were read, of the files that pages read beside them (losses, parameters,
answers, logs, pictures) by size and times, and of the code, templates and libraries that draw them.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import ablate
import fusion_zoo
from ablate import strategies
from ablate.catalog import plugins
from ablate.files import sha256_file
from ablate.home import Home
from ablate.redaction import secret_names
from ablate.reports.browser import Browser
from ablate.reports.model import StudyResult
from ablate.search.optuna_log import JOURNAL
from ablate.store.answers import Answers
from ablate.store.read_cache import folder_signature, signature

LIBRARIES = ("jinja2", "markupsafe", "matplotlib", "numpy", "pandas", "pillow", "scipy")


def made_of(study: StudyResult, browser: Browser, *shown: Any) -> str:
    """The hash; `shown`: what pages show that is not of the study, as JSON."""
    made = hashlib.sha256()
    for part in (shown, *_surroundings(study)):
        made.update(_line(part))
    for part in _results(study):
        made.update(_line(part))
    for source in sorted(set(browser.questions["source"])):
        made.update(_line([source, _file(source)]))
    return made.hexdigest()


def _results(study: StudyResult) -> Iterator[Any]:
    """All that was read of a study, in parts: a step once, though many candidates share it."""
    yield _fields(study, but=("rounds", "explained"))
    for name, answers in study.explained.items():
        yield [name, list(answers.items())]
    for turn in study.rounds:
        yield _fields(turn, but=("candidates", "partial"))
        for candidate in (*turn.candidates, *turn.partial):
            keys = [step.key for step in candidate.steps]
            yield [_fields(candidate, but=("steps", "runs")), keys]
    for step in study.steps.values():
        logs = Home(study.home).logs_of(step.name, step.dirname)
        work = None if step.files else _folder(step.folder)
        yield [_fields(step, but=("spec",)), work, _folder(logs)]  # the key is its spec


def _surroundings(study: StudyResult) -> Iterator[Any]:
    """What pages show that is neither a result nor a file of it."""
    yield _code()
    entry = strategies.plug_in(study.strategy.kind)
    yield plugins.identity(entry) if entry else None
    yield [os.geteuid(), secret_names()]  # who may read a log, and what is taken out of it
    yield (Home(study.home).study(study.id) / JOURNAL).exists()


@cache
def _code() -> list[Any]:
    """The sources of this package and the fusions' by hash, and the versions of libraries."""
    roots = [Path(str(package.__file__)).parent for package in (ablate, fusion_zoo)]
    known = [
        [name, sha256_file(f"{folder}/{name}")]
        for root in roots
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
        if name.endswith((".py", ".html", ".css", ".js", ".json", ".yaml"))
    ]
    return [sorted(known), [[name, version(name)] for name in LIBRARIES]]


_JSON = json.JSONEncoder(default=lambda value: _plain(value))


def _line(value: Any) -> bytes:
    return _JSON.encode(value).encode() + b"\n"


def _plain(value: Any) -> Any:
    """What JSON has no word for, of values that it has one for."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Answers):
        return _fields(value, but=("read",))
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, array):
        return value.tolist()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no part of a report")


def _fields(value: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name) for field in fields(value) if field.name not in but
    }


def _folder(folder: Path | None) -> str | None:
    """What its files are by size and times; None where there is none that may be read."""
    with suppress(OSError):
        return folder_signature(str(folder)) if folder else None
    return None


def _file(path: str) -> list[int] | None:
    with suppress(OSError, ValueError):  # no path
        return signature(path) if path else None
    return None
