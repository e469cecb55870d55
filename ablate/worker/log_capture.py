"""What a step prints, into its log."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ablate.errors import UserError
from ablate.files import private
from ablate.redaction import redact


@contextlib.contextmanager
def redirect_output(log: Path, whole_process: bool) -> Iterator[None]:
    """Send what is printed to the attempt's log, with the traceback of what went wrong.

    What a library prints may hold a secret, so the log is `private`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with _opened(log) as file, contextlib.ExitStack() as stack:
        if whole_process:
            stack.enter_context(_descriptors(file.fileno()))
        else:
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
        try:
            yield
        except BaseException as error:
            text = f"{error}\n" if isinstance(error, UserError) else traceback.format_exc()
            with contextlib.suppress(OSError):
                file.write(redact(text))
            raise


def _opened(log: Path) -> TextIO:
    """The log, to write at its end. One of another user, of a step that was begun before and is
    begun anew, makes room, and so does a folder in its place."""
    try:
        log.touch(mode=private())
        return log.open("a", encoding="utf-8", buffering=1)
    except (PermissionError, IsADirectoryError):
        log.rename(log.with_name(f"before-{time.time_ns()}-{log.name}"))
        log.touch(mode=private())
        return log.open("a", encoding="utf-8", buffering=1)


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    """Standard output and error into `target`, also what C code and child processes write."""
    streams = (sys.stdout, sys.stderr)
    saved = [os.dup(number) for number in (1, 2)]
    try:
        for number, stream in zip((1, 2), streams, strict=True):
            stream.flush()
            os.dup2(target, number)
        yield
    finally:
        for number, stream, old in zip((1, 2), streams, saved, strict=True):
            with contextlib.suppress(OSError):
                stream.flush()
            os.dup2(old, number)
            os.close(old)
