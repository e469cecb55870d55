"""What the end of a Slurm job's log tells: why it died, of memory or at which set-up line."""

import re

from ablate.launch import log_tail as logs
from ablate.launch.slurm.sbatch import SET_UP
from ablate.redaction import redact

AFTERWARDS = re.compile(
    r"^(srun|slurmstepd)\S*: .*(Exited with exit code|Terminat\w+ StepId|Job step aborted"
    r"|CANCELLED AT|First task exited|Timed out waiting for job step"
    r"|tasks? [\d,-]+: (running|exited))"
)
"""What Slurm adds once a process has ended, which says that it did and not why."""


def log_tail(printed: str) -> str:
    """The last line of a log before what Slurm adds, or of that alone; `""` of an empty one."""
    return logs.log_tail(printed, AFTERWARDS)


def failed_set_up(printed: str) -> str | None:
    """The set-up line that ended the job (see `fail_fast_setup`) and its last words; None: none."""
    before, marked, after = printed.rpartition(SET_UP)
    if not marked:
        return None
    line = redact(after.partition("\n")[0])[: logs.LONGEST]
    words = re.sub(r"^\S+: line \d+: ", "", log_tail(before))  # where bash has the line
    return f"`{line}`: {words}" if words else f"`{line}`"


def killed_for_it(state: str, printed: str) -> bool:
    """Whether Slurm or the kernel ended a job for the memory it took, by the job's state and log.

    Where only a part of the job was killed, Slurm calls it failed and slurmstepd says why.
    """
    return state == "OUT_OF_MEMORY" or bool(re.search(r"oom[-_ ]kill", printed, re.IGNORECASE))
