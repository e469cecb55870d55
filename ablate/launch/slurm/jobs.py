"""Jobs of a Slurm cluster: chains that are ready together go out as one array.

What a job came to is read from the answer that it leaves in the drive folder. Slurm's word on it is
a hint, which is asked for only where there is no answer, or the answer is that a process died:
whether one is still to come, and else why not. A job that has begun a step must show by the step's
lease that it lives, whatever Slurm believes. It is never begun again by Slurm, submitit or
Lightning: its driver submits another.
"""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.files import UNREADABLE, read_json, write_json
from ablate.launch.log_tail import failed_set_up, last_words
from ablate.launch.slurm import arrays
from ablate.launch.slurm.arrays import Array
from ablate.launch.slurm.sbatch import RefusedError, on_gpus, request, submit
from ablate.launch.slurm.squeue import Queue, Queued
from ablate.polling import within
from ablate.store.lease import BEAT, Watch
from ablate.store.steps import Step
from ablate.worker.out_of_memory import HOST, killed_for_it
from ablate.worker.process_group import Team
from ablate.worker.run import TOLD_TO_GO, Executors, Outcome, Place, follow, run_chain

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
ARRAY = 1000
"""Tasks of an array at most; Slurm's own limit (MaxArraySize) is 1001 unless a site changed it."""


class ToldToGo(SystemExit):
    """Slurm told the job that it must go: it is preempted, or almost out of time."""


class Chain:
    """What a Slurm job runs."""

    def __init__(
        self, home: Path, steps: Sequence[Any], place: Place, executors: Executors, answer: Path
    ) -> None:
        self.home, self.steps, self.place = str(home), list(steps), place
        self.executors, self.answer = dict(executors), str(answer)

    def __call__(self) -> None:
        home, answer = Path(self.home), Path(self.answer)
        team = Team.of_job()
        _listen(team.leads)
        team.meet(answer.with_suffix(".team"))
        if not team.leads:
            return follow(home, self.place, self.executors, team)
        steps = [Step.from_json(step) for step in self.steps]
        try:
            run_chain(home, steps, self.place, self.executors, team, answer)
        except ToldToGo:
            said = "its job was told to go: preempted, or out of time"
            write_json(answer, asdict(Outcome("stopped", said)))
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


class Pulses:
    """Which Slurm jobs show no life in the steps that they hold, looked at once for all."""

    def __init__(self, home: Path) -> None:
        self.leases, self.watch = home / "leases", Watch()
        self._silent: dict[str, Path] = {}
        self._looked = -math.inf

    def silent(self, job: str) -> bool:
        """Whether the job of this number holds the lease of a step, and shows no life."""
        if time.monotonic() - self._looked > BEAT / 2:
            self._looked = time.monotonic()
            found = {folder: self.watch.silent(folder) for folder in self.leases.glob("*/*")}
            self._silent = {one.owner.job: at for at, one in found.items() if one and one.owner}
        return job in self._silent and self.watch.silent(self._silent[job]) is not None


@dataclass
class SlurmJob:
    """A chain on the cluster: over when its answer is there, when Slurm says it ended and no answer
    is seen for `GRACE` seconds after that, or when the step that it has begun shows no life.

    Where the answer is that a process died, Slurm has as long to say what it died of.
    """

    array: Array
    index: int
    queue: Queue
    pulses: Pulses
    since: float
    outcome: Outcome | None = None
    ended: float | None = None

    def poll(self) -> Outcome | None:
        if self.outcome is None:
            answer = self._answer()
            lost = answer is None or answer.status == "lost"
            self.outcome = self._loss(answer) if lost else answer
        return self.outcome

    def _answer(self) -> Outcome | None:
        try:
            return Outcome(**read_json(self.array.answer(self.index)))
        except UNREADABLE:
            return None

    def _loss(self, answer: Outcome | None) -> Outcome | None:
        found = self.queue.job(self.array.name, self.array.task(self.index), self.since)
        if found is None:
            return None
        if found.alive and not answer:
            self.ended = None
            return self._given_up(found)
        self.ended = self.ended or time.monotonic()
        waited = time.monotonic() - self.ended > GRACE
        return self._why(found, answer) if waited or (answer and not found.alive) else None

    def _given_up(self, found: Queued) -> Outcome | None:
        """What became of a job that lives for Slurm alone, as where its node hangs or is cut off:
        it is cancelled, lest it stay. Should it wake up before that, it finds its step taken over.
        """
        if found.still or not self.pulses.silent(found.number):
            return None
        outcome = self._why(found)  # before its log speaks of being cancelled
        return outcome if told("scancel", found.number) is not None else None

    def _why(self, found: Queued, answer: Outcome | None = None) -> Outcome:
        """What became of a job that was lost, by Slurm's last word, its log and its answer."""
        job, said = f"Slurm job {self.array.job(self.index)}", self.array.log(self.index)
        if killed_for_it(found.state, said):
            return Outcome("memory", f"{job} ran out of memory; {HOST['slurm']}")
        if found.state in STOPPED:
            return Outcome("stopped", f"{job}: {STOPPED[found.state]}")
        if EARLY in said:
            return Outcome("stopped", f"{job} was told to go before it had begun")
        if answer:
            return answer
        line = failed_set_up(said)
        if line and found.state != "CANCELLED":  # then it is the cancelling that ended the line
            return Outcome("setup", f"{job} ended at a line of infra.slurm.setup, {line}", log=said)
        how = SILENT.format(found.state) if found.alive else LOST.get(found.state, LOST[""])
        words = last_words(said)
        return Outcome("lost", f"{job} {how}: {words}" if words else f"{job} {how}", log=said)


class OnSlurm:
    """Jobs of chains. `at_once`: how many of them run at once, over all arrays (None: any).

    A queued job keeps none from being queued: an array may be longer than what of it runs at once.
    """

    pause = 0.5
    slots = sys.maxsize
    notice = ""

    def __init__(
        self,
        home: Path,
        folder: Path,
        place: Place,
        at_once: int | None,
        infra: Infra,
        executors: Executors,
    ) -> None:
        self.home, self.folder, self.executors = home, folder, executors
        self.place = replace(place, whole_process=True, backend="slurm")
        self.infra, self.at_once = infra, at_once
        self.queue, self.pulses = Queue(), Pulses(home)
        self.arrays: list[list[SlurmJob]] = []
        self._later = -math.inf

    def start(self, chains: Sequence[Sequence[Step]]) -> list[SlurmJob | None]:
        jobs: list[SlurmJob | None] = [None] * len(chains)
        alike: dict[str, list[int]] = {}
        for n, chain in enumerate(chains):
            alike.setdefault(self.infra.place(chain[0].kind), []).append(n)
        for numbers in alike.values():
            for first in range(0, len(numbers), ARRAY):
                part = numbers[first : first + ARRAY]
                for n, job in zip(part, self._submit([chains[n] for n in part]), strict=False):
                    jobs[n] = job
        self._widen()
        if self.queue.away:
            self.notice = AWAY
        elif self.notice:
            self.notice = BACK
        return jobs

    def adopt(self, drive: Path) -> dict[str, SlurmJob]:
        return {
            key: job
            for array in arrays.arrays(drive)
            for job in self._watch(array)
            for key in array.chains[job.index]
        }

    def close(self) -> None:
        """Cancel the jobs that have not ended, and let the others write their last lines."""
        at_work = [jobs[0].array for jobs in self.arrays if _lasting(jobs)]
        for jobs in self.arrays:
            scancel([job.array.job(job.index) for job in jobs if job.poll() is None])
        within(LEAVE, lambda: not self.queue.alive(), self.pause)
        if at_work and self.queue.away:
            which = " ".join(array.number or array.name for array in at_work)
            self.notice = (
                f"Slurm does not answer; once it does, `scancel {which}` ends what it runs"
            )
        elif left := self.queue.alive():
            self.notice = f"jobs still ending, of which Slurm takes care: {', '.join(left)}"

    def _submit(self, chains: Sequence[Sequence[Step]]) -> list[SlurmJob]:
        """Jobs of one array; none where there is no room, or Slurm does not take them now."""
        self.arrays = [jobs for jobs in self.arrays if _lasting(jobs)]
        self.queue.names = {jobs[0].array.name for jobs in self.arrays}
        room = len(chains) if self.at_once is None else self.at_once - self._taken()
        if room < 1 or time.monotonic() < self._later:
            return []
        if not self.queue.answers():
            self._later = time.monotonic() + LATER
            return []
        keys = [[step.key for step in chain] for chain in chains]
        array = arrays.new(self.folder, keys, min(room, len(chains)))
        infra = self.infra.of(chains[0][0].kind)
        place = replace(self.place, device="cuda" if on_gpus(infra) else "cpu")
        calls = [
            Chain(self.home, [s.to_json() for s in chain], place, self.executors, array.answer(n))
            for n, chain in enumerate(chains)
        ]
        jobs = self._watch(array)  # from here on, `close` cancels it, whatever happens
        try:
            array.number = submit(request(infra), array.folder, array.name, calls, array.at_once)
        except RefusedError as error:
            scancel([array.name])  # sbatch may have failed only to say that it did it
            self.arrays.remove(jobs)
            shutil.rmtree(array.folder)
            self._later = time.monotonic() + LATER
            if not self.arrays and self.queue.answers():
                raise UserError(f"sbatch refused: {error}") from None
            return []
        array.save()
        return jobs

    def _watch(self, array: Array) -> list[SlurmJob]:
        """The jobs of an array."""
        self.queue.names.add(array.name)
        known = (self.queue, self.pulses, time.monotonic())
        self.arrays.append([SlurmJob(array, n, *known) for n in range(len(array.chains))])
        return self.arrays[-1]

    def _taken(self) -> int:
        """How many jobs of the arrays that are submitted may be running."""
        return sum(min(jobs[0].array.at_once, _lasting(jobs)) for jobs in self.arrays)

    def _widen(self) -> None:
        """Give the room that arrays leave, and no chain needs, to those that could use more."""
        if self.at_once is None:
            return
        for jobs in self.arrays:
            array = jobs[0].array
            room = min(_lasting(jobs) - array.at_once, self.at_once - self._taken())
            if room > 0 and array.number:
                wider = array.at_once + room
                change = (f"JobId={array.number}", f"ArrayTaskThrottle={wider}")
                done = told("scontrol", "update", *change) is not None
                if (
                    done or self.queue.answers()
                ):  # done too where it only complains of tasks that have ended
                    array.at_once = wider
                    array.save()


def _lasting(jobs: Sequence[SlurmJob]) -> int:
    """How many of the jobs are not over."""
    return sum(job.poll() is None for job in jobs)


def scancel(jobs: Sequence[str]) -> None:
    """End these jobs, by number or name; those that have ended already do not mind."""
    numbers = [job for job in jobs if job[:1].isdecimal()]
    if numbers:
        told("scancel", *numbers)
    for name in sorted(set(jobs) - set(numbers)):
        told("scancel", f"--name={name}")


def told(*command: str) -> str | None:
    """What a command of Slurm's prints; None where it fails, as it does while slurmctld is away."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
