"""What a step printed, as far as a page shows it."""

import os
import re
from pathlib import Path

from ablate.home import Home
from ablate.redaction import redact
from ablate.reports.browser import shortened
from ablate.reports.model import StepResult

LINES, WIDE = 40, 400  # how many lines, how many characters of each
MOST = 100 * WIDE  # bytes that are read for them
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def tail(home: Path, step: StepResult) -> str:
    """The last lines of the step's last attempt, without control characters and secrets; empty if
    none, or if it is for another user alone. A report is for those it is shown to.

    Of a line that was drawn over, as a progress bar is, what stood there last.
    """
    logs = Home(home).logs_of(step.name, step.dirname).glob("attempt-*.log")
    attempts = sorted(filter(Path.is_file, logs), key=lambda path: (len(path.name), path.name))
    if not attempts or not os.access(attempts[-1], os.R_OK):  # another user's alone
        return ""
    lines = _end(attempts[-1]).replace("\r\n", "\n").split("\n")
    seen = (_CONTROL.sub("", line.rsplit("\r", 1)[-1]).rstrip() for line in lines)
    kept = redact("\n".join(line for line in seen if line)).split("\n")[-LINES:]
    return "\n".join(shortened(line, WIDE) for line in kept)


def _end(path: Path) -> str:
    """The end of a file from the beginning of a line, or of a word: half a secret is not known."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - MOST)
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    return text.partition("\n" if "\n" in text else " ")[2] if start else text
