"""Chains as jobs of a Ray cluster, a job each.

What a job came to is read from the answer that it leaves in the drive folder. Ray's word on it is a
hint, which is asked for only where there is no answer: whether one is still to come, and else why
not. A job that has begun a step must show by the step's lease that it lives, whatever Ray believes.
"""

import contextlib
import math
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.errors import UserError
from ablate.files import UNREADABLE, read_json
from ablate.launch.liveness import Liveness
from ablate.launch.log_tail import log_tail
from ablate.launch.protocol import Drive
from ablate.launch.ray import submission
from ablate.launch.ray.cluster import AwayError, Cluster, RayJob, RefusedError
from ablate.launch.ray.options import MORE_MEMORY
from ablate.launch.ray.submission import Submission
from ablate.launch.ray.task import Chain
from ablate.polling import wait_until
from ablate.store.steps import Step
from ablate.worker.outcome import Outcome

ASK = 5.0
"""Seconds between two questions for the jobs of a cluster."""
GRACE = 30.0
"""Seconds that the answer of a job which has ended may take to be seen on a network file system."""
LATER = 30.0
"""Seconds until Ray is asked again after it refused a job."""
LEAVE = 10.0
"""Seconds that jobs which are stopped are given to end."""
AWAY, BACK = "Ray does not answer; waiting for it", "Ray answers again"
WAITED = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
"""Ray's error of a job that found no room for so long that Ray gave it up."""
NODE = "JOB_SUPERVISOR_ACTOR_DIED"
"""Ray's error of a job whose node is gone, or Ray's own processes there."""
STARVED = re.compile(r"oom[-_ ]?kill|out of memory|low on memory|OutOfMemory", re.IGNORECASE)
LOST = {
    "STOPPED": "was stopped",
    "SUCCEEDED": "ended without an answer",
    "FAILED": "died",
    "RUNNING": "shows no life, though Ray calls it running; it was stopped",
}
"""What is said of a job that was lost, by Ray's last word on it."""


class Queue:
    """Ray's word on all jobs of a cluster, asked for every `ASK` seconds.

    `away`: whether Ray did not answer when it was last asked.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.away = cluster, False
        self._jobs: dict[str, RayJob] = {}
        self._tried = self._answered = -math.inf

    def ask(self) -> None:
        """Ask, if not asked for `ASK` seconds."""
        if time.monotonic() - self._tried > ASK:
            self._tried = time.monotonic()
            jobs = self.cluster.jobs()
            self.away = jobs is None
            if jobs is not None:
                self._answered, self._jobs = self._tried, jobs

    def job(self, number: str, since: float) -> RayJob | None:
        """A job that was submitted at `since`; one without a status if Ray does not know it (any
        more), None while it does not answer."""
        self.ask()
        if self._answered < max(since, self._tried):
            return None
        return self._jobs.get(number, RayJob(number))


@dataclass
class ChainJob:
    """A chain on the cluster: over when its answer is there, when Ray says it ended and no answer
    is seen for `GRACE` seconds after that, or when the step that it has begun shows no life.

    What is found out of a job that never answered is left as its answer, for other drivers.
    """

    sent: Submission
    backend: "OnRay"
    since: float
    outcome: Outcome | None = None
    ended: float | None = None

    def poll(self) -> Outcome | None:
        if self.outcome is None:
            self.outcome = self._answer()
            if self.outcome is None and (loss := self._loss()):
                self.outcome = loss
                with contextlib.suppress(OSError):  # a full disk loses no more than this
                    loss.leave(self.sent.answer)
        return self.outcome

    def _answer(self) -> Outcome | None:
        try:
            return Outcome(**read_json(self.sent.answer))
        except UNREADABLE:
            return None

    def _loss(self) -> Outcome | None:
        job = self.backend.queue.job(self.sent.number, self.since)
        if job is None:
            return None
        if job.alive:
            self.ended = None
            return self._given_up(job)
        if job.error == WAITED:
            self._again()
            return None
        self.ended = self.ended or time.monotonic()
        return self._why(job) if time.monotonic() - self.ended > GRACE else None

    def _again(self) -> None:
        """Ask for it once more: it has not begun, and it is no fault of its own."""
        self.sent.tries += 1
        self.sent.save()
        self.since = time.monotonic()
        with contextlib.suppress(AwayError, RefusedError):  # then it is gone, which is seen
            self.backend.submit(self.sent)

    def _given_up(self, job: RayJob) -> Outcome | None:
        """What became of a job that lives for Ray alone, as where its node hangs: it is stopped.
        Should it wake up before that, it finds its step taken over."""
        if not self.backend.liveness.silent(job.number):
            return None
        self.backend.cluster.stop(job.number)
        return self._why(job)

    def _why(self, job: RayJob) -> Outcome:
        """What became of a job that was lost, by Ray's last word and its log."""
        name, printed = f"Ray job {self.sent.number}", ""
        if self.sent.printed.is_file():
            printed = self.sent.printed.read_text(encoding="utf-8", errors="replace")[-4000:]
        if STARVED.search(job.message) or STARVED.search(printed):
            return Outcome("memory", f"{name} ran out of memory; {MORE_MEMORY}")
        if job.error == NODE:
            return Outcome("stopped", f"{name}: its node failed, or Ray on it")
        if not job.status:
            return Outcome("stopped", f"{name} is gone from Ray's memory and left no answer")
        words = log_tail(printed)
        how = LOST.get(job.status, job.status)
        return Outcome("lost", f"{name} {how}: {words}" if words else f"{name} {how}", log=printed)


class OnRay:
    """Jobs of chains, so many of them submitted at once."""

    pause = 0.2

    def __init__(self, drive: Drive, cluster: Cluster, at_once: int) -> None:
        self.drive, self.cluster, self.slots = drive, cluster, at_once
        self.queue, self.liveness = Queue(cluster), Liveness(drive.home)
        self.jobs: list[ChainJob] = []
        self.notice, self._later = "", -math.inf
        submission.remember(drive.folder, cluster)

    def start(self, chains: Sequence[Sequence[Step]]) -> list[ChainJob | None]:
        self.jobs = [job for job in self.jobs if job.outcome is None]
        self.queue.ask()
        started = [self._send(chain) for chain in chains]
        if self.queue.away:
            self.notice = AWAY
        elif self.notice == AWAY:
            self.notice = BACK
        return started

    def adopt(self, drive: Path) -> dict[str, ChainJob]:
        jobs = [
            ChainJob(submitted, self, time.monotonic())
            for submitted in submission.submissions(drive)
        ]
        self.jobs += [job for job in jobs if job not in self.jobs]
        return {key: job for job in jobs for key in job.sent.keys}

    def close(self) -> bool:
        """Stop the jobs that have not answered; whether all have ended."""
        left = [job for job in self.jobs if job.poll() is None]
        for job in left:
            self.cluster.stop(job.sent.number)
        wait_until(LEAVE, lambda: not self._alive(left), self.pause)
        alive = self._alive(left)
        if alive is None:
            which = " ".join(job.sent.number for job in left)
            self.notice = f"Ray does not answer; once it does, `ray job stop` ends {which}"
        elif alive:
            self.notice = f"jobs still ending: {' '.join(alive)}"
        return not left or alive == []

    def _alive(self, jobs: Sequence[ChainJob]) -> list[str] | None:
        """The numbers of those that have not ended; None where Ray does not say."""
        known = self.cluster.jobs() if jobs else {}
        if known is None:
            return None
        numbers = [job.sent.number for job in jobs]
        return [number for number in numbers if number in known and known[number].alive]

    def _send(self, chain: Sequence[Step]) -> ChainJob | None:
        """A job of the chain; None where Ray takes none now."""
        if self.queue.away or time.monotonic() < self._later:
            return None
        infra = self.drive.infra.of(chain[0].kind)
        device = "cuda" if submission.on_gpus(infra) else "cpu"
        where = replace(self.drive.where, whole_process=True, device=device)
        sent = submission.new(self.drive.folder, [step.key for step in chain], infra)
        steps = [step.to_json() for step in chain]
        executors = self.drive.executors
        call = Chain(self.drive.home, steps, where, executors, sent.answer, infra.devices)
        submission.prepare(sent.folder, infra, call, sent.printed)
        job = ChainJob(sent, self, time.monotonic())
        self.jobs.append(job)  # from here on, `close` stops it, whatever happens
        try:
            self.submit(sent)
        except AwayError:  # Ray may have heard it: its word decides, once it answers
            self.queue.away = True
        except RefusedError as error:
            self.jobs.remove(job)
            shutil.rmtree(sent.folder)
            if not self.jobs:
                raise UserError(f"Ray refused a job: {error}") from None
            self._later = time.monotonic() + LATER
            return None
        return job

    def submit(self, sent: Submission) -> None:
        """Ask Ray for a job. Raises AwayError, RefusedError."""
        line = submission.entrypoint(sent.folder, sent.number)
        self.cluster.submit(sent.number, sent.asked, line)
