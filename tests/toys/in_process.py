"""The command line in this process: what it prints and how it ends."""

import contextlib
import gc
import io
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import jsonschema

from ablate.__main__ import main
from ablate.commands.schemas import schema
from ablate.driver import scheduler
from ablate.worker.run import Executors


class Answer(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def ablate(*words: str) -> Answer:
    """What comes of a command."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["ablate", *words]),
        patch.object(gc, "freeze", lambda: None),  # the process goes on, unlike that of a command
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            return Answer(int(ended.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command ends with an exit code")


def conforms(value: Any, command: str) -> None:
    """Fails where a command's JSON is not as its published schema says."""
    jsonschema.Draft202012Validator(schema(command)).validate(value)


@contextlib.contextmanager
def faked(executors: Executors) -> Iterator[None]:
    """`ablate run` does its steps by these."""
    drive = scheduler.drive
    with patch.dict(drive.__kwdefaults__, {"executors": executors}):
        yield
