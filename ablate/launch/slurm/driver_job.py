"""A driver as a Slurm job, the one job that Slurm may begin again.

Where the driver is preempted, its node fails or its time runs out, it goes back to the queue,
leaves its jobs at work, and takes them over when it begins anew.
"""

from collections.abc import Callable
from typing import Any

from ablate.launch.slurm.scontrol import announce_job


class DriverJob:
    """What the job runs. A class, so that submitit finds `checkpoint` when it must go."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __call__(self) -> Any:
        announce_job()
        return self.call()

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)
