"""The command line in this process, with executors that train nothing."""

import contextlib
import io
import sys
from collections.abc import Iterator
from unittest.mock import patch

import core_fakes

from ablate import cli, scheduler


def ablate(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["ablate", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("a command ends with an exit code")


@contextlib.contextmanager
def faked() -> Iterator[None]:
    """`ablate run` does its steps by the fakes."""
    drive = scheduler.drive
    with patch.dict(drive.__kwdefaults__, {"executors": core_fakes.EXECUTORS}):
        yield
