"""What a step printed, as far as a page shows it."""

import os
import re
from pathlib import Path

from ablate.reports.browser import shortened
from ablate.reports.model import StepResult

LINES, WIDE = 40, 400  # how many lines, how many characters of each
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def tail(home: Path, step: StepResult) -> str:
    """The last lines of the step's last attempt, without control characters; empty if none, or if
    they are for another user alone.

    Of a line that was drawn over, as a progress bar is, what stood there last.
    """
    logs = (home / "logs" / f"{step.kind}-{step.dirname}").glob("attempt-*.log")
    attempts = sorted(filter(Path.is_file, logs), key=lambda path: (len(path.name), path.name))
    if not attempts or not os.access(attempts[-1], os.R_OK):  # another user's alone
        return ""
    with attempts[-1].open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 100 * LINES * 10))
        lines = file.read().decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    seen = (_CONTROL.sub("", line.rsplit("\r", 1)[-1]).rstrip() for line in lines)
    return "\n".join([shortened(line, WIDE) for line in seen if line][-LINES:])
