"""What the end of a log tells: why a process died, and which set-up line ended a Slurm job."""

import re

from ablate.launch.slurm.sbatch import SET_UP
from ablate.redaction import redact

LONGEST = 200
"""Characters of the words that are told."""
AFTERWARDS = re.compile(
    r"^(srun|slurmstepd)\S*: .*(Exited with exit code|Terminat\w+ StepId|Job step aborted"
    r"|CANCELLED AT|First task exited|Timed out waiting for job step"
    r"|tasks? [\d,-]+: (running|exited))"
)
"""What Slurm adds once a process has ended, which says that it did and not why."""


def log_tail(said: str) -> str:
    """The last line of a log before what Slurm adds, or of that alone; `""` of an empty one.

    As what is told goes into records, no secret of this process's environment is in it.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not AFTERWARDS.match(line)] or lines
    return redact(telling[-1])[:LONGEST] if telling else ""


def failed_set_up(said: str) -> str | None:
    """The set-up line that ended the job (see `sbatch.guarded`) and its last words; None: none."""
    before, marked, after = said.rpartition(SET_UP)
    if not marked:
        return None
    line = redact(after.partition("\n")[0])[:LONGEST]
    words = re.sub(r"^\S+: line \d+: ", "", log_tail(before))  # where bash has the line
    return f"`{line}`: {words}" if words else f"`{line}`"
