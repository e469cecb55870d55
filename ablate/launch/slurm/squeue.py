"""What Slurm's queue says of our jobs: hints, for people and for drivers. No result hangs on them.

Slurm may be away, or slow, or not here at all: nobody waits for it longer than they say.
"""

import math
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

ASK = 10.0
"""Seconds between two questions of a `Queue`."""
PATIENCE = 30.0
"""Seconds that a `Queue` waits for an answer."""
ALIVE = {
    "CONFIGURING",
    "COMPLETING",
    "PENDING",
    "REQUEUED",
    "RESIZING",
    "RUNNING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
}
"""Slurm's words for a job that has not ended."""

REASONS = {
    "Priority": "others in the queue go first",
    "Resources": "nodes are busy",
    "BeginTime": "not before its time: requeued jobs wait two minutes",
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
    "Reservation": "its reservation has not begun",
    "Licenses": "no licence is free",
    "QOS": "the limits of its QOS are reached",
    "Assoc": "the limits of its account are reached",
    "MaxJobs": "its user has as many jobs as allowed",
}
"""Slurm's reasons for which a job waits, by how they begin (`man squeue`, JOB REASON CODES)."""


@dataclass(frozen=True)
class Queued:
    """A job as Slurm sees it: its number, an array's task as `12_3`, the name that it was submitted
    under, its state in Slurm's word, and why it waits (`None`: it does not)."""

    number: str
    name: str
    state: str
    reason: str

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.state in ALIVE

    @property
    def still(self) -> bool:
        """Whether Slurm has it hold still, as where jobs take turns on a node."""
        return self.state in ("STOPPED", "SUSPENDED")

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

    Jobs that ended stay known for a while, in another state. `jobs`: numbers, array tasks as
    `12_3`; or names, where sbatch has not told a number.
    """
    arrays = sorted({job.partition("_")[0] for job in jobs if job[:1].isdecimal()})
    names, wanted = sorted({job for job in jobs if not job[:1].isdecimal()}), set(jobs)
    jobs_known: dict[str, Queued] = {}
    for option, words in ("--jobs", arrays), ("--name", names):
        known = _ask(f"{option}={','.join(words)}", patience) if words else {}
        if known is None:
            return None
        jobs_known |= known
    return {
        number: job
        for number, job in jobs_known.items()
        if {number, number.partition("_")[0], job.name} & wanted
    }


def _ask(selected: str, patience: float) -> dict[str, Queued] | None:
    each_task = "-r"
    which = ("--all", each_task, "--states=all", selected)
    command = ["squeue", "--noheader", "--format=%i|%j|%T|%r", *which]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:  # Slurm has forgotten a job that was asked for alone, or is away
        return {} if "Invalid job id" in done.stderr else None
    lines = re.findall(r"^(\S+)\|(.*)\|(\S+)\|(.*)$", done.stdout, re.MULTILINE)
    return {line[0]: Queued(*line) for line in lines}


class Queue:
    """Slurm's word on the jobs of some names, asked for once for all, every `ASK` seconds.

    `away`: whether Slurm did not answer when it was last asked for anything.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.away = False
        self._jobs: dict[tuple[str, str], Queued] = {}
        self._tried = self._answered = -math.inf

    def job(self, name: str, task: str, since: float) -> Queued | None:
        """A job that was submitted at `since`, of an array this task; one without a state if Slurm
        does not know it (any more), None while it does not answer."""
        self._ask(ASK)
        if self._answered < max(since, self._tried):
            return None
        return self._jobs.get((name, task), Queued("", name, "", ""))

    def alive(self) -> list[str]:
        """The numbers of the jobs and arrays that have not ended, as far as Slurm tells now."""
        self._ask(0)
        known = self._jobs.values() if self._answered == self._tried else ()
        return sorted({job.number.partition("_")[0] for job in known if job.alive})

    def answers(self) -> bool:
        """Whether Slurm answers: only then is what sbatch says about the job, not about Slurm."""
        self.away = _ask("--me", PATIENCE) is None
        return not self.away

    def _ask(self, pause: float) -> None:
        """Ask, if not asked for `pause` seconds."""
        if self.names and time.monotonic() - self._tried > pause:
            self._tried = time.monotonic()
            answer = ask(sorted(self.names), PATIENCE)
            self.away = answer is None
            if answer is not None:
                self._answered = self._tried
                each = answer.values()
                self._jobs = {(job.name, job.number.partition("_")[2]): job for job in each}
