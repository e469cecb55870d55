"""What Slurm's queue says of our jobs: hints for people. No result and no decision hangs on them.

Slurm may be away, or slow, or not here at all: nobody waits for it longer than they say.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

REASONS = {
    "Priority": "others in the queue go first",
    "Resources": "waits for nodes that are busy",
    "BeginTime": "starts later: a job that was requeued waits two minutes",
    "JobArrayTaskLimit": "as many of its array run as may at once",
    "DependencyNeverSatisfied": "what it depends on has failed",
    "Dependency": "what it depends on has not ended",
    "JobHeldUser": "held by its user; `scontrol release` lets it go",
    "JobHeldAdmin": "held by an operator of the cluster",
    "launch failed requeued held": "it could not be started; ask the cluster's operators",
    "PartitionTimeLimit": "asks for more time than its partition allows: infra.slurm.timeout_min",
    "PartitionNodeLimit": "asks for more nodes than its partition allows",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs to its nodes now",
    "PartitionConfig": "asks for what its partition does not have",
    "BadConstraints": "no node has what it asks for",
    "InvalidAccount": "its account is not valid: infra.slurm.account",
    "InvalidQOS": "its QOS is not valid: infra.slurm.qos",
    "ReqNodeNotAvail": "nodes it needs are down, drained or reserved",
    "NodeDown": "a node it needs is down",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "QOS": "the limits of its QOS are reached",
    "Assoc": "the limits of its account are reached",
    "MaxJobs": "its user has as many jobs as allowed",
}
"""Slurm's reasons for which a job waits, by how they begin (`man squeue`, JOB REASON CODES)."""


@dataclass(frozen=True)
class Queued:
    """A job as Slurm sees it: its state in Slurm's word, and why it waits (`None`: it does not)."""

    number: str
    state: str
    reason: str

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD")

    def said(self) -> str:
        """Why it waits, in words; Slurm's own word where we have none."""
        reason = self.reason.strip("()")
        words = next((words for word, words in REASONS.items() if reason.startswith(word)), "")
        return f"{words} ({reason})" if words else reason


def ask(jobs: Sequence[str], patience: float = 10.0) -> dict[str, Queued] | None:
    """The jobs that Slurm knows, by their numbers; None if it has not answered in so many seconds.

    Jobs that ended stay known for a while, in another state. `jobs`: array tasks as `12_3`.
    """
    if not jobs:
        return {}
    each_task, listed = "-r", f"--jobs={','.join(jobs)}"
    command = ["squeue", each_task, "--noheader", "--states=all", "--format=%i|%T|%r", listed]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:  # Slurm has forgotten a job that was asked for alone, or is away
        return {} if "Invalid job id" in done.stderr else None
    lines = re.findall(r"^(\S+)\|(\S+)\|(.*)$", done.stdout, re.MULTILINE)
    return {number: Queued(number, state, reason) for number, state, reason in lines}
