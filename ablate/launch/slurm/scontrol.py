"""What Slurm's commands print, and the limits that it sets on how many jobs a user may submit."""

import re
import subprocess
from collections.abc import Mapping

ARRAY = 1000
"""Tasks of an array at most, where Slurm sets no lower limit."""


def run_slurm_command(*command: str) -> str | None:
    """What a command of Slurm's prints; None where it fails, as it does while slurmctld is away."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def array_size() -> int:
    """How many tasks an array may have (`ARRAY` where Slurm does not say); at least 1."""
    return max(1, min(ARRAY, configured().get("MaxArraySize", ARRAY)))


def configured() -> Mapping[str, int]:
    """MaxArraySize (an array's indices are below it), max_array_tasks and MaxJobCount, where
    `scontrol show config` tells them."""
    said = run_slurm_command("scontrol", "show", "config") or ""
    found = re.findall(r"\b(MaxArraySize|max_array_tasks|MaxJobCount)\s*=\s*(\d+)", said)
    limits = {name: int(value) for name, value in found}
    if tasks := limits.get("max_array_tasks"):
        limits["MaxArraySize"] = min(tasks, limits.get("MaxArraySize", tasks))
    return limits


def submitted(user: str) -> Mapping[str, int]:
    """The limits on jobs that this user, or a group of the user's, may have submitted at once, as
    slurmctld holds them for its associations and QOS: such as `MaxSubmitJobs`."""
    said = (
        run_slurm_command("scontrol", "show", "assoc_mgr", f"users={user}", "flags=assoc,qos") or ""
    )
    least: dict[str, int] = {}
    for name, value in re.findall(r"\b((?:Max|Grp)SubmitJobs\w*)=(\d+)", said):
        least[name] = min(int(value), least.get(name, int(value)))
    return least
