"""Children that a test forks from itself, and how they end."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence

RAISED = 99
"""The exit code of a child after an exception, which no code of ours ends with by itself."""


def forked(do: Callable[[], object]) -> int:
    """A child process that does it and ends; its number."""
    child = os.fork()
    if child:
        return child
    code = RAISED
    try:
        do()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def codes(children: Sequence[int], seconds: float = 300.0) -> list[int]:
    """How they ended, which they must within that time."""
    deadline, found = time.monotonic() + seconds, dict[int, int]()
    while len(found) < len(children):
        assert time.monotonic() < deadline, f"only {found} have ended"
        for child in set(children) - set(found):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                found[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return [found[child] for child in children]
