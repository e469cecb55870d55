"""Jobs of a Slurm cluster: chains that are ready together go out as one array.

What a job came to is read from the answer that it leaves in the drive folder. Slurm's word on it is
a hint, which is asked for only where there is no answer, or the answer is that a process died:
whether one is still to come, and else why not. A job that has begun a step must show by the step's
lease that it lives, whatever Slurm believes. It is never begun again by Slurm, submitit or
Lightning: its driver submits another.
"""

import contextlib
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from ablate.errors import UserError
from ablate.files import UNREADABLE, read_json
from ablate.launch.liveness import Liveness
from ablate.launch.protocol import Drive
from ablate.launch.slurm import arrays
from ablate.launch.slurm.arrays import Array
from ablate.launch.slurm.last_words import failed_set_up, killed_for_it, log_tail
from ablate.launch.slurm.options import MORE_MEMORY
from ablate.launch.slurm.sbatch import LimitError, RefusedError, on_gpus, request_of, submit
from ablate.launch.slurm.scontrol import announce_job, array_size, run_slurm_command, scancel
from ablate.launch.slurm.squeue import Queue, Queued
from ablate.polling import wait_until
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.outcome import Outcome
from ablate.worker.process_group import ProcessGroup
from ablate.worker.run import TOLD_TO_GO, Executors, follow, run_chain

STOPPED = {
    "BOOT_FAIL": "its node did not boot",
    "COMPLETING": "it was ended, which its node does not bring to an end",
    "DEADLINE": "it ran into its deadline",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "it was preempted",
    "TIMEOUT": "it ran into its time limit",
}
"""Slurm's words for a job that was ended through no fault of the step's, and ours."""
EARLY = "User defined signal 2"
"""What srun says of a process that did not listen yet when the notice to go, USR2, ended it."""
GRACE = 30.0
"""Seconds that the answer of a job which has ended may take to be seen on a network file system:
with `squeue.ASK`, a job that is lost is known to be within a minute."""
LOST = {
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended without an answer",
    "FAILED": "died",
    "": "is gone from Slurm's memory and left no answer",
}
"""What is said of a job that was lost, by Slurm's last word on it."""
SILENT = "shows no life, though Slurm calls it {}; it was cancelled"
"""What is said of a job that was given up in that state."""
LEAVE = 10.0
"""Seconds that jobs which have answered are given to leave the queue."""
LATER = 30.0
"""Seconds until sbatch is asked again after it refused, or Slurm did not answer."""
AWAY, BACK = "Slurm does not answer; waiting for it", "Slurm answers again"
FULL = (
    "Slurm takes no more jobs now ({}); the rest follow as jobs end. --jobs, or "
    "infra.slurm.at_once, keeps below such a limit"
)
"""What is said once where Slurm's limits keep chains from being submitted."""
ENDING = 120.0
"""Seconds that a job which has answered may take to end, its traps and epilogue among them."""
STUCK = "jobs that have answered and do not end, cancelled: {}"
HURRY = "`scancel --signal=KILL --full {}` hurries one, `ablate cancel` tells what is left"


class ToldToGo(SystemExit):
    """Slurm told the job that it must go: it is preempted, or almost out of time."""


class SlurmTask:
    """What a Slurm job runs."""

    def __init__(
        self,
        home: Path,
        steps: Sequence[Any],
        where: RunContext,
        executors: Executors,
        answer: Path,
    ) -> None:
        self.home, self.steps, self.where = str(home), list(steps), where
        self.executors, self.answer = dict(executors), str(answer)

    def __call__(self) -> None:
        home, answer = Path(self.home), Path(self.answer)
        announce_job()
        team = ProcessGroup.of_job()
        _listen(team.leads)
        team.meet(answer.with_suffix(".team"))
        if not team.leads:
            return follow(home, self.where, self.executors, team)
        steps = [Step.from_json(step) for step in self.steps]
        try:
            run_chain(home, steps, self.where, self.executors, team, answer)
        except ToldToGo:
            reason = "its job was told to go: preempted, or out of time"
            Outcome("stopped", reason).leave(answer)
        return team.close(in_order=True)


def _listen(leads: bool) -> None:
    """Hear what Slurm has to say, in place of submitit, which would requeue the job.

    USR2, the notice that we asked for, ends the step, by the process that leads. SIGTERM, which
    comes alone on many clusters, leaves it as much time as there is: what it saves until it is
    killed need not be done again.
    """
    me = os.getpid()

    def hear(number: int, frame: FrameType | None) -> None:
        if os.getpid() == me:  # a forked data loader inherits this handler
            TOLD_TO_GO.set()
            if number == signal.SIGUSR2 and leads:
                raise ToldToGo

    signal.signal(signal.SIGUSR2, hear)
    signal.signal(signal.SIGTERM, hear)


@dataclass
class SlurmJob:
    """A chain on the cluster: over when its answer is there, when Slurm says it ended and no answer
    is seen for `GRACE` seconds after that, or when the step that it has begun shows no life.

    Where the answer is that a process died, Slurm has as long to say what it died of. What is found
    out of a job that never answered is left as its answer: two drivers that have each lost a job of
    the same step would else wait for each other's.
    """

    array: Array
    index: int
    queue: Queue
    pulses: Liveness
    since: float
    outcome: Outcome | None = None
    ended: float | None = None
    settled: float = math.inf

    def poll(self) -> Outcome | None:
        if self.outcome is None:
            answer = self._answer()
            lost = answer is None or answer.status == "lost"
            self.outcome = self._loss(answer) if lost else answer
            if self.outcome is not None:
                self.settled = time.monotonic()
                if answer is None:
                    with contextlib.suppress(OSError):  # a full disk loses no more than this
                        self.outcome.leave(self.array.answer(self.index))
        return self.outcome

    def gone(self) -> bool:
        """Whether its outcome is known, and Slurm has nothing of it left."""
        return self.poll() is not None and not self._lives(True)

    def stuck(self) -> bool:
        """Whether its outcome is known for long, and Slurm has not ended it yet."""
        return self.poll() is not None and self._waited() > ENDING and self._lives(False)

    def _waited(self) -> float:
        return time.monotonic() - self.settled

    def _lives(self, unknown: bool) -> bool:
        """Whether Slurm has not ended it; `unknown`: where Slurm has not said since its outcome."""
        job = self.queue.job(self.array.name, self.array.task(self.index), self.settled)
        return unknown if job is None else job.alive

    def _answer(self) -> Outcome | None:
        try:
            return Outcome(**read_json(self.array.answer(self.index)))
        except UNREADABLE:
            return None

    def _loss(self, answer: Outcome | None) -> Outcome | None:
        job = self.queue.job(self.array.name, self.array.task(self.index), self.since)
        if job is None:
            return None
        if job.alive and not answer:
            self.ended = None
            return self._given_up(job)
        self.ended = self.ended or time.monotonic()
        waited = time.monotonic() - self.ended > GRACE
        return self._why(job, answer) if waited or (answer and not job.alive) else None

    def _given_up(self, job: Queued) -> Outcome | None:
        """What became of a job that lives for Slurm alone, as where its node hangs or is cut off:
        it is cancelled, lest it stay. Should it wake up before that, it finds its step taken over.
        """
        if job.still or not self.pulses.silent(job.number):
            return None
        outcome = self._why(job)  # before its log speaks of being cancelled
        return outcome if run_slurm_command("scancel", job.number) is not None else None

    def _why(self, job: Queued, answer: Outcome | None = None) -> Outcome:
        """What became of a job that was lost, by Slurm's last word, its log and its answer."""
        name, printed = f"Slurm job {self.array.job(self.index)}", self.array.log(self.index)
        if killed_for_it(job.state, printed):
            return Outcome("memory", f"{name} ran out of memory; {MORE_MEMORY}")
        if job.state in STOPPED:
            return Outcome("stopped", f"{name}: {STOPPED[job.state]}")
        if EARLY in printed:
            return Outcome("stopped", f"{name} was told to go before it had begun")
        if answer:
            return answer
        line = failed_set_up(printed)
        if line and job.state != "CANCELLED":  # then it is the cancelling that ended the line
            return Outcome(
                "setup", f"{name} ended at a line of infra.slurm.setup, {line}", log=printed
            )
        how = SILENT.format(job.state) if job.alive else LOST.get(job.state, LOST[""])
        words = log_tail(printed)
        return Outcome("lost", f"{name} {how}: {words}" if words else f"{name} {how}", log=printed)


class OnSlurm:
    """Jobs of chains. `at_once`: how many of them are submitted at once, over all arrays (None: as
    many as Slurm takes)."""

    pause = 0.5

    def __init__(self, drive: Drive, at_once: int | None) -> None:
        self.home, self.folder, self.executors = drive.home, drive.folder, drive.executors
        self.where = replace(drive.where, whole_process=True)
        self.infra, self.slots = drive.infra, at_once or sys.maxsize
        self.queue, self.pulses = Queue(), Liveness(drive.home)
        self.arrays: list[list[SlurmJob]] = []
        self.notice = self._full = ""
        self._later = -math.inf
        self._stuck: list[str] = []

    def start(self, chains: Sequence[Sequence[Step]]) -> list[SlurmJob | None]:
        jobs: list[SlurmJob | None] = [None] * len(chains)
        alike: dict[str, list[int]] = {}
        for n, chain in enumerate(chains):
            alike.setdefault(self.infra.job_signature(chain[0].kind), []).append(n)
        self._end_the_stuck()
        for numbers in alike.values():
            submitted = self._submit([chains[n] for n in numbers])
            for n, job in zip(numbers, submitted, strict=False):
                jobs[n] = job
        if self.queue.away:
            self.notice = AWAY
        elif why := STUCK.format(" ".join(self._stuck)) if self._stuck else self._full:
            self.notice = why
        elif self.notice == AWAY:
            self.notice = BACK
        return jobs

    def adopt(self, drive: Path) -> dict[str, SlurmJob]:
        return {
            key: job
            for array in arrays.arrays(drive)
            for job in self._watch(array)
            for key in array.chains[job.index]
        }

    def close(self) -> bool:
        """Cancel the jobs that have not answered, and let the others write their last lines.

        Whether all have ended; those that are left are cancelled, whatever they have answered.
        """
        at_work = [jobs[0].array for jobs in self.arrays]
        for jobs in self.arrays:
            scancel([job.array.job(job.index) for job in jobs if job.poll() is None])
        wait_until(LEAVE, lambda: not self.queue.alive(), self.pause)
        left = self.queue.alive()
        if at_work and self.queue.away:
            which = " ".join(array.number or array.name for array in at_work)
            self.notice = (
                f"Slurm does not answer; once it does, `scancel {which}` ends what it runs"
            )
        elif left:
            scancel(left)
            self.notice = f"jobs still ending, cancelled: {' '.join(left)}; {HURRY.format(left[0])}"
        return not left and not (at_work and self.queue.away)

    def _submit(self, chains: Sequence[Sequence[Step]]) -> list[SlurmJob]:
        """Jobs of the first of these chains: of all, where Slurm takes so many now.

        Where it does not, for its limits, halves are tried, and the rest is left for later.
        """
        if not chains or time.monotonic() < self._later:
            return []
        jobs: list[SlurmJob] = []
        size = array_size()
        self._full = ""
        while len(jobs) < len(chains) and self.queue.answers():
            part = chains[len(jobs) :][:size]
            try:
                jobs += self._array(part)
            except LimitError as error:
                size = len(part) // 2
                if size:
                    continue
                self._full = FULL.format(error.limit)
                if not (error.sure or self.arrays):
                    raise UserError(f"sbatch refused: {error}") from None
                break
            except RefusedError as error:
                if not self.arrays and self.queue.answers():
                    raise UserError(f"sbatch refused: {error}") from None
                break
        if len(jobs) < len(chains):
            self._later = time.monotonic() + LATER
        return jobs

    def _array(self, chains: Sequence[Sequence[Step]]) -> list[SlurmJob]:
        """Jobs of one array. Raises RefusedError."""
        array = arrays.new(self.folder, [[step.key for step in chain] for chain in chains])
        kind = chains[0][0].kind
        device = "cuda" if on_gpus(self.infra.of(kind)) else "cpu"
        where = replace(self.where, device=device)
        calls = [
            SlurmTask(
                self.home, [s.to_json() for s in chain], where, self.executors, array.answer(n)
            )
            for n, chain in enumerate(chains)
        ]
        jobs = self._watch(array)  # from here on, `close` cancels it, whatever happens
        try:
            array.number = submit(request_of(self.infra, kind), array.folder, array.name, calls)
        except RefusedError:
            scancel([array.name])  # sbatch may have failed only to say that it did it
            self.arrays.remove(jobs)
            shutil.rmtree(array.folder)
            raise
        array.save()
        return jobs

    def _watch(self, array: Array) -> list[SlurmJob]:
        """The jobs of an array."""
        self.queue.names.add(array.name)
        known = (self.queue, self.pulses, time.monotonic())
        self.arrays.append([SlurmJob(array, n, *known) for n in range(len(array.chains))])
        return self.arrays[-1]

    def _end_the_stuck(self) -> None:
        """Cancel jobs that have answered long ago and hold their nodes still, as where an epilogue
        or a trap hangs; forget the arrays of which nothing is left in Slurm."""
        left = [[job for job in jobs if not job.gone()] for jobs in self.arrays]
        self.arrays = [jobs for jobs, its in zip(self.arrays, left, strict=True) if its]
        self.queue.names = {jobs[0].array.name for jobs in self.arrays}
        stuck = [job.array.job(job.index) for its in left for job in its if job.stuck()]
        if new := sorted(set(stuck) - set(self._stuck)):
            scancel(new)
        self._stuck = stuck
