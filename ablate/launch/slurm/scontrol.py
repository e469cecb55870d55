"""Slurm's commands, what it tells a job, and its limits on how many jobs a user may submit."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from ablate.store.process import JOB

ARRAY = 1000
"""Tasks of an array at most, where Slurm sets no lower limit."""


def run_slurm_command(*command: str) -> str | None:
    """What a command of Slurm's prints; None where it fails, as it does while slurmctld is away."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def scancel(jobs: Sequence[str]) -> None:
    """End these jobs, by number or name; those that have ended already do not mind."""
    numbers = [job for job in jobs if job[:1].isdecimal()]
    if numbers:
        run_slurm_command("scancel", *numbers)
    for name in sorted(set(jobs) - set(numbers)):
        run_slurm_command("scancel", f"--name={name}")


def announce_job() -> None:
    """Let leases of this process say which Slurm job it is of, as squeue numbers it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    task = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    os.environ[JOB] = task if array else os.environ.get("SLURM_JOB_ID", "")


def array_size() -> int:
    """How many tasks an array may have (`ARRAY` where Slurm does not say); at least 1."""
    return max(1, min(ARRAY, configured().get("MaxArraySize", ARRAY)))


def configured() -> Mapping[str, int]:
    """MaxArraySize (an array's indices are below it), max_array_tasks and MaxJobCount, where
    `scontrol show config` tells them."""
    config = run_slurm_command("scontrol", "show", "config") or ""
    limits_set = re.findall(r"\b(MaxArraySize|max_array_tasks|MaxJobCount)\s*=\s*(\d+)", config)
    limits = {name: int(value) for name, value in limits_set}
    if tasks := limits.get("max_array_tasks"):
        limits["MaxArraySize"] = min(tasks, limits.get("MaxArraySize", tasks))
    return limits


def submitted(user: str) -> Mapping[str, int]:
    """The limits on jobs that this user, or a group of the user's, may have submitted at once, as
    slurmctld holds them for its associations and QOS: such as `MaxSubmitJobs`."""
    limits_text = (
        run_slurm_command("scontrol", "show", "assoc_mgr", f"users={user}", "flags=assoc,qos") or ""
    )
    least: dict[str, int] = {}
    for name, value in re.findall(r"\b((?:Max|Grp)SubmitJobs\w*)=(\d+)", limits_text):
        least[name] = min(int(value), least.get(name, int(value)))
    return least
