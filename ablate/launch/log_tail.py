"""What the end of a log tells: why a process died."""

import re

from ablate.redaction import redact

LONGEST = 200
"""Characters of the words that are told."""


def log_tail(printed: str, afterwards: re.Pattern[str] | None = None) -> str:
    """The last line of a log before what is added `afterwards`, or of that alone; `""` of an empty
    one.

    As what is told goes into records, no secret of this process's environment is in it.
    """
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    telling = [line for line in lines if not (afterwards and afterwards.match(line))] or lines
    return redact(telling[-1])[:LONGEST] if telling else ""
