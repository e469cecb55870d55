"""A monkey let loose on a study that runs on a cluster: it breaks what it can, at random.

Faults are dealt from a shuffled deck that holds every kind, one about each step that the study
commits: so they fall on all of it, and it still gets on. A fault counts only if it hit something
at work. Beside the monkey there is an administrator, who starts requeued jobs at once where Slurm
would wait for two minutes, and brings nodes back. The nodes are machines of their own: none sees
whether a process of another runs, their clocks disagree by two hours, and one gives no notice.
"""

import math
import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loopback import MACHINES, Loopback, environment_of, runs
from rounds import FULL, STEPS, Driver, records, run

from ablate.store.lease import look

SPREAD = 0.8
"""The part of the study's steps over which the faults are spread."""
EAGER = 3.0
"""Seconds to wait for a worker that trains, before one that still imports is hit instead."""
LIMIT = 15.0
"""Seconds in which nothing else befalls a job whose time is over: Slurm is to end it."""
LOSSES = 2
"""How often a step's worker is lost: the harness calls a step failed that is lost three times."""


@dataclass(frozen=True)
class Worker:
    """A process that holds the lease of a step now, and its Slurm job and node.

    `learns`: whether it has logged an optimiser step within the last second.
    """

    pid: int
    job: str
    node: str
    step: str
    learns: bool

    def __str__(self) -> str:
        return f"{self.step} on {self.node}{', learning' if self.learns else ''}"


class Chaos:
    """The study in `home`, driven on the cluster, and what befalls it.

    `struck` counts faults by kind; `limited` are the jobs whose time was over, and when that was,
    `committed` the records that were seen.
    """

    def __init__(self, cluster: Loopback, home: Path, seed: int) -> None:
        self.cluster, self.home = cluster, home
        self.chance = random.Random(seed)
        self.deck = deque(fault for fault, times in FAULTS.items() for _ in range(times))
        self.chance.shuffle(self.deck)
        for _ in range(FAULTS[time_limit]):  # of which one at least must find somebody at work
            self.deck.remove(time_limit)
            self.deck.insert(self.chance.randrange(len(self.deck) // 2), time_limit)
        self.pace = SPREAD * STEPS / len(self.deck)
        self.due, self.eager = 0.0, False
        self.drivers: list[Driver] = []
        self.lost: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.limited: dict[str, float] = {}
        self.committed: dict[str, bytes] = {}

    def run(self, seconds: float) -> None:
        """Drive the study to its end, and strike until then."""
        begun = time.monotonic()
        self.start_driver()
        while self.running():
            now = time.monotonic() - begun
            assert now < seconds, "the study does not get on"
            self.administrate()
            self.look_at_records()
            if hit := self.strike():
                print(f"{now:4.0f} s, {len(self.committed):2} steps done: {hit}", flush=True)
            time.sleep(0.2)
        self.look_at_records()

    def strike(self) -> str:
        """Deal the next fault, if it is time and there is something for it to hit; it in words.

        Where the faults are behind the study's steps, nothing is waited for.
        """
        now, ahead = time.monotonic(), self.pace * self.struck.total() - len(self.committed)
        if ahead >= 1:
            self.due = now
        if not self.deck or (now <= self.due and ahead > -2):
            return ""
        self.eager = now > self.due + EAGER or ahead <= -2
        kind = self.deck[0].__name__
        hit = self.deck[0](self)
        if hit:
            self.deck.popleft()
            self.struck[kind] += 1
            self.due = time.monotonic() + self.chance.uniform(0.2, 2.0)
        elif self.eager:
            self.deck.rotate(-1)
        return hit and f"{kind}, {hit}"

    def start_driver(self) -> None:
        self.drivers.append(Driver(self.home, MACHINES, run("slurm")))

    def running(self) -> list[Driver]:
        """The drivers that have not ended; one that ended badly fails the test."""
        return [driver for driver in self.drivers if driver.runs()]

    def administrate(self) -> None:
        """Start requeued jobs now, and free nodes that Slurm has drained of the jobs it sees there.

        It drains a node when it begins a job there that, as it forgot, runs already.
        """
        for job in self.cluster.queue():
            if job.state == "PENDING" and job.reason == "BeginTime":
                self.cluster.run("scontrol", "update", f"JobId={job.number}", "StartTime=now")
        for node in self.cluster.drained():
            for state in ("DOWN", "RESUME"):
                command = f"NodeName={node} State={state} Reason=chaos"
                self.cluster.run("scontrol", "update", *command.split())

    def look_at_records(self) -> None:
        """A record that was there is there, and is the same."""
        now = records(self.home)
        assert self.committed.items() <= now.items(), "a committed step was lost, or done again"
        self.committed = now

    def worker(self, *, to_lose: bool = False) -> Worker | None:
        """One that is at work; one that learns before one that does not, if there is one in time.

        to_lose: one whose step has not been lost too often.
        """
        spared = {job for job, since in self.limited.items() if time.monotonic() < since + LIMIT}
        found = [one for one in self.at_work() if one.job not in spared]
        found = [one for one in found if not to_lose or self.lost[one.step] < LOSSES]
        found = [one for one in found if one.learns] or found if self.eager else []
        worker = self.chance.choice(found) if found else None
        if worker and to_lose:
            self.lost[worker.step] += 1
        return worker

    def at_work(self) -> list[Worker]:
        """The workers that hold a lease, and do not hold still."""
        found = []
        for folder in sorted(self.home.glob("leases/*/*")):
            holding = look(folder)
            if holding and holding.owner and not holding.released:
                pid, kind, step = holding.owner.pid, folder.parent.name, folder.name
                said = environment_of(pid)
                journals = self.home.glob(f"work/{kind}/**/{step}/metrics.jsonl")
                learns = any(_age(journal) < 1.0 for journal in journals)
                if said.get("ABLATE_HOME") == str(self.home) and runs(pid):
                    found.append(Worker(pid, _job(said), said["SLURMD_NODENAME"], step, learns))
        return found


def _job(said: Mapping[str, str]) -> str:
    """A job's number: of an array's, the plain one may stand for all of the array."""
    if "SLURM_ARRAY_JOB_ID" in said:
        return f"{said['SLURM_ARRAY_JOB_ID']}_{said['SLURM_ARRAY_TASK_ID']}"
    return said.get("SLURM_JOB_ID", "")


def _age(path: Path) -> float:
    """Seconds since a file was written to."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


Fault = Callable[[Chaos], str]
"""Something that befalls the study: whom it hit, or nothing where there is nobody to hit now."""


def driver_killed(chaos: Chaos) -> str:
    return _replace_driver(chaos, signal.SIGKILL)


def driver_told_to_stop(chaos: Chaos) -> str:
    return _replace_driver(chaos, signal.SIGTERM)


def _replace_driver(chaos: Chaos, number: int) -> str:
    """End one of the drivers while its jobs are at work; another starts if none is left."""
    alive, jobs = chaos.running(), chaos.at_work()
    if not alive or not jobs:
        return ""
    victim = chaos.chance.choice(alive)
    victim.kill(number)
    chaos.drivers.remove(victim)
    if len(alive) == 1:
        chaos.start_driver()
    return f"one of {len(alive)}, jobs at work: {len(jobs)}"


def second_driver(chaos: Chaos) -> str:
    jobs = chaos.at_work()
    if len(chaos.running()) != 1 or not jobs:
        return ""
    chaos.start_driver()
    return f"jobs at work: {len(jobs)}"


def worker_killed(chaos: Chaos) -> str:
    worker = chaos.worker(to_lose=True)
    return str(worker) if worker and _signal(worker, signal.SIGKILL) else ""


def worker_paused(chaos: Chaos) -> str:
    worker = chaos.worker()
    if worker is None or not _signal(worker, signal.SIGSTOP):
        return ""
    time.sleep(3)
    return str(worker) if _signal(worker, signal.SIGCONT) else ""


def _signal(worker: Worker, number: int) -> bool:
    """Signal the process itself, which Slurm does not learn of; whether it was there."""
    try:
        os.kill(worker.pid, number)
    except ProcessLookupError:
        return False
    return True


def job_cancelled(chaos: Chaos) -> str:
    worker = chaos.worker(to_lose=True)
    return _command(chaos, worker, "scancel", "{job}")


def job_requeued(chaos: Chaos) -> str:
    """By an operator: jobs of steps ask not to be."""
    worker = chaos.worker(to_lose=True)
    _command(chaos, worker, "scontrol", "update", "JobId={job}", "Requeue=1")
    return _command(chaos, worker, "scontrol", "requeue", "{job}")


def sigterm(chaos: Chaos) -> str:
    """As a scheduler sends it that has no other signal to announce an end."""
    return _command(chaos, chaos.worker(), "scancel", "--signal=TERM", "{job}")


def announced(chaos: Chaos) -> str:
    """A time limit that is minutes away yet: a job has Slurm tell of it with this signal."""
    return _command(chaos, chaos.worker(), "scancel", "--signal=USR2", "{job}")


def time_limit(chaos: Chaos) -> str:
    """Slurm's own: it gives notice, and kills who is there five seconds later."""
    worker = chaos.worker(to_lose=True)  # it holds still for so long that it may count as dead
    if worker is None or not chaos.cluster.end_time(worker.job):
        return ""
    chaos.limited[worker.job] = time.monotonic()
    return str(worker)


def preempted(chaos: Chaos) -> str:
    """By a short job that takes all of the node in the partition that goes first."""
    short = ("sbatch", "--partition=main", "--gres=gpu:2", "--output=/dev/null")
    return _command(chaos, chaos.worker(), *short, "--nodelist={node}", "--wrap=sleep 1")


def node_lost(chaos: Chaos) -> str:
    """Without power for a second: nothing on it is left, and Slurm learns of it."""
    worker = chaos.worker(to_lose=True)
    if worker:
        chaos.cluster.cut_power(worker.node)
        _command(chaos, worker, "scontrol", "update", "NodeName={node}", "State=DOWN", "Reason=-")
        time.sleep(1)
        chaos.cluster.start()
    return str(worker or "")


def _command(chaos: Chaos, worker: Worker | None, *command: str) -> str:
    """Run one of Slurm's commands, about a worker's job or node; the worker, if that went well."""
    if worker is None:
        return ""
    words = [word.format(job=worker.job, node=worker.node) for word in command]
    return str(worker) if chaos.cluster.run(*words) else ""


def slurmd_restarted(chaos: Chaos) -> str:
    worker = chaos.worker()
    return f"{_restart(chaos, f'slurmd-{worker.node}')}, {worker}" if worker else ""


def slurmctld_restarted(chaos: Chaos) -> str:
    """It may have forgotten what it did last: jobs that run are begun again, or cancelled."""
    steps = [worker.step for worker in chaos.at_work()]
    if not steps or any(chaos.lost[step] >= LOSSES for step in steps):
        return ""
    chaos.lost.update(steps)
    return f"{_restart(chaos, 'slurmctld')}, jobs at work: {len(steps)}"


def _restart(chaos: Chaos, daemon: str) -> str:
    """Kill a daemon, and start it again two seconds later."""
    os.kill(chaos.cluster.daemon(daemon), signal.SIGKILL)
    time.sleep(2)
    chaos.cluster.start()
    return daemon


DEALT: Mapping[Fault, int] = {
    driver_killed: 4,
    driver_told_to_stop: 1,
    second_driver: 2,
    worker_killed: 2,
    worker_paused: 4,
    job_cancelled: 1,
    job_requeued: 2,
    sigterm: 4,
    announced: 3,
    time_limit: 2,
    preempted: 4,
    node_lost: 2,
    slurmd_restarted: 3,
    slurmctld_restarted: 2,
}
"""How many there are of each kind in the deck for the study as it is shipped.

Few of those that leave no answer: the study waits for them, for Slurm's word and the lease.
"""
FAULTS = {fault: times if FULL else math.ceil(times / 3) for fault, times in DEALT.items()}
"""How many there are of each kind in the deck: as the study is short, it has a third as many."""
