"""Drives a study to its end: propose, expand, see what is missing, launch, collect, decide.

All it knows is in the store, so it may be killed at any moment and started again, and several may
drive one study at once: leases keep them from doing a step twice. Nothing here imports torch.
"""

import contextlib
import math
import shutil
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import launchers, step_kinds
from ablate.config.study import Study
from ablate.driver import sessions as drives
from ablate.driver.events import Event, OnEvent
from ablate.driver.frontier import Frontier
from ablate.driver.retries import RetryPolicy
from ablate.errors import BrokenError, UserError
from ablate.files import unwritable, writing
from ablate.home import Home
from ablate.launch.backends import open_backend
from ablate.launch.protocol import Backend, Job
from ablate.preflight.step import passed, preflight_step, refusal
from ablate.signals import terminable
from ablate.store.artifacts import Store
from ablate.store.record import record
from ablate.store.steps import Step, ancestors
from ablate.strategies import Round
from ablate.worker.outcome import Outcome
from ablate.worker.run import EXECUTORS, Executors

LOOK = 1.0
"""Seconds after which the store is looked through again, for what other drivers have done."""
SHARE = 20
"""Such looks take at most one part in so many of the time: those at many candidates are rare."""


def drive(
    study: Study,
    rounds: int | None = None,
    backend: str = launchers.DEFAULT,
    jobs: int | None = None,
    *,
    home: Path,
    on_event: OnEvent = lambda event: None,
    executors: Executors = EXECUTORS,
    folder: Path | None = None,
) -> list[Round]:
    """Make rounds 1 to `rounds` (default: all) true, doing only what the store lacks.

    Steps that failed before are left as they are, their candidates failed in their round, unless
    they failed of what ends every step alike. A preflight comes first (`ablate.preflight.step`).
    Ctrl-C, SIGTERM and `ablate cancel` end what runs (its work folders stay) and pass on as
    KeyboardInterrupt and SystemExit(143). Raises UserError for a full or read-only disk, and before
    anything is started for a published benchmark that is not here; BrokenError where the preflight
    finds machine or packages at fault, or a step does.

    `folder`: of a drive that outlives its driver (`ablate.driver.detach`). One that is told to go
    leaves its jobs at work, for the next to take over.
    """
    stays, folder = folder is not None, folder or Home(home).drives / uuid.uuid4().hex[:12]
    driver = Driver(study, rounds, Store(home), folder, backend, on_event)
    stopping = contextlib.nullcontext() if stays else terminable()
    with writing(home), stopping, contextlib.closing(driver.frontier.trials):
        if not driver.settled():
            benchmarks.require(study.asks)
            if step_kinds.PREFLIGHT in executors:
                driver.preflight = preflight_step(study)
            where = (home, folder, study.infra, executors)
            driver.run(partial(open_backend, backend, jobs, *where), stays)
        elif stays:  # its jobs came to the end while it waited for its turn
            shutil.rmtree(folder, ignore_errors=True)
        return driver.frontier.rounds()


class Driver:
    """One run of `drive`: it starts the chains of its frontier, and sees how each of them ends."""

    def __init__(
        self, study: Study, last: int | None, store: Store, folder: Path, backend: str, say: OnEvent
    ) -> None:
        self.store, self.folder, self.tell = store, folder, say
        self.frontier = Frontier(study, last, store, folder.name, say)
        self.job_signature = cache(study.infra.job_signature)
        self.tracks = bool(study.infra.trackers())
        self.attempts = RetryPolicy(store)
        self.running: list[tuple[Job, list[Step]]] = []
        self.awaited: set[str] = set()
        self.tenure = drives.SessionOwnership(store.home, study.id, store.watch, backend)
        self.adopted: dict[str, Job] = {}  # of dead drivers, by their steps
        self.noticed = ""
        self.preflight: Step | None = None

    def settled(self) -> bool:
        """Whether there is nothing to do: every candidate of every known round has ended."""
        return next(self.frontier.chains(), None) is None

    def run(self, opened: Callable[[], Backend], stays: bool) -> None:
        """Work, holding the drive; `stays`: its jobs stay at work when this process has to go."""
        backend, leave = None, False
        with contextlib.closing(self.tenure):
            self.tenure.acquire(self.folder)
            try:
                backend = opened()
                self.adopted |= backend.adopt(self.folder)  # where the drive is an old one
                self.work(backend)
            except drives.TakenOverError:
                leave = True
                raise
            except UserError:
                raise
            except BaseException:
                leave = stays and not drives.asked_to_stop(self.folder)
                raise
            finally:
                if not leave:
                    ended = backend is None or backend.close()
                    if backend:
                        self._notice(backend)
                    if ended:
                        self.tenure.remove()

    def work(self, backend: Backend) -> None:
        """Start chains and collect them until there is nothing left to do."""
        ready: deque[list[Step]] = deque()
        if self.preflight and passed(self.store, self.preflight):
            self.preflight = None
        changed, looked, heeded, rest = True, -math.inf, -math.inf, 0.0
        while True:
            now = time.monotonic()
            if now - heeded > LOOK:
                self._heed(backend)
                heeded = now
            lacks = changed and not ready
            if (lacks and not self.running) or now - looked > (rest if lacks else max(LOOK, rest)):
                self.frontier.states.look_again()
                ready, changed, looked = deque(self._ready()), False, time.monotonic()
                rest = (SHARE - 1) * (looked - now)
                if not ready and not self.running:
                    return
            self._start(ready, backend)
            if self._collect():
                changed = True
            else:
                time.sleep(backend.pause)

    def _heed(self, backend: Backend) -> None:
        """Hear who wants the driver to end; take over what dead ones left."""
        if drives.asked_to_stop(self.folder):
            raise SystemExit(128 + signal.SIGTERM)
        for folder in self.tenure.take_over_dead():
            self.adopted |= backend.adopt(folder)

    def _ready(self) -> Iterable[list[Step]]:
        """The chains to start now: the preflight alone, for as long as it has not passed."""
        taken = [step for _, chain in self.running for step in chain]
        if self.preflight is None or self.frontier.is_done(self.preflight):
            return self.frontier.chains(taken)
        return [] if any(step is self.preflight for step in taken) else [[self.preflight]]

    def _start(self, ready: deque[list[Step]], backend: Backend) -> None:
        """Fill the slots; a chain that another driver has at hand is looked at later."""
        chains: list[list[Step]] = []
        while ready and len(self.running) + len(chains) < backend.slots:
            chain = self._alike(ready.popleft())
            first = chain[0]
            if job := self.adopted.get(first.key):
                self.adopted = {
                    key: adopted for key, adopted in self.adopted.items() if adopted is not job
                }
                self._begun(job, chain)
            elif first.key in self.tenure.spoken_for or self.store.watch.held(
                self.store.leases(first)
            ):
                if first.key not in self.awaited:
                    self.awaited.add(first.key)
                    self.tell(Event("waiting", first, "another worker is at it"))
            elif not self._done_meanwhile(first):
                chains.append(chain)
        if self.tracks:
            self._label(step for chain in chains for step in chain)
        jobs = backend.start(chains)
        self._notice(backend)
        for job, chain in zip(jobs, chains, strict=True):
            if job is not None:
                self._begun(job, chain)

    def _done_meanwhile(self, step: Step) -> bool:
        """Whether another driver has done the step since its chain was found ready."""
        self.frontier.states.look_again([step])
        return self.frontier.is_done(step)

    def _label(self, steps: Iterable[Step]) -> None:
        """Leave for the workers of these steps what their trackers show them under."""
        for step in steps:
            if step.key in self.frontier.labels:
                self.frontier.labels[step.key].write(self.folder, step.key)

    def _notice(self, backend: Backend) -> None:
        """Tell, once, what the backend has to say."""
        if backend.notice != self.noticed:
            self.noticed = backend.notice
            self.tell(Event("notice", message=self.noticed))

    def _begun(self, job: Job, chain: list[Step]) -> None:
        self.tell(Event("submitted", chain[0]))
        self.running.append((job, chain))

    def _alike(self, chain: list[Step]) -> list[Step]:
        """The beginning of a chain, up to where another job must go on with it."""
        first = self.job_signature(chain[0].kind)
        return list(takewhile(lambda step: self.job_signature(step.kind) == first, chain))

    def _collect(self) -> bool:
        """See what has ended since the last look; whether anything has."""
        changed = False
        for job, chain in list(self.running):
            outcome = job.poll()
            self.frontier.states.look_again(chain)
            while chain and self.frontier.is_done(chain[0]):
                changed = True
                self.tell(Event("done", chain.pop(0)))
                if chain and (outcome is None or self.frontier.is_done(chain[0])):
                    self.tell(Event("started", chain[0]))
            if outcome is not None:
                changed = True
                self.running = [pair for pair in self.running if pair[0] is not job]
                if chain:
                    self._settle(outcome, chain)
        return changed

    def _settle(self, outcome: Outcome, chain: list[Step]) -> None:
        """Draw the consequences of a chain that ended before its end."""
        step = next((step for step in chain if step.key == outcome.step), chain[0])
        if outcome.log:
            self.store.keep_log(step, outcome.log)
        match outcome.status:
            case "done":  # seen by the worker, and by us once the file server was asked
                if not self.store.committed(step):
                    self._again(step, Outcome("bad", "what it left is gone"))
            case "full":
                raise unwritable(self.store.home, outcome.message)
            case "failed":
                self._fail(step, outcome.message, outcome.remedy)
            case "memory":
                self._give_up(step, "OutOfMemory", outcome.message)
            case "setup":  # it would fail again
                self._give_up(step, "SetUp", outcome.message)
            case "bad":
                self.frontier.lose(ancestors(chain), outcome.message)
                self._again(step, outcome)
            case "lost" | "stopped":
                self.store.require_room()
                self.tell(Event(outcome.status, step, outcome.message))
                self._again(step, outcome)

    def _again(self, step: Step, outcome: Outcome) -> None:
        """Leave the step to be tried again, or call it failed after so many times."""
        assert outcome.status in ("lost", "stopped", "bad")
        if enough := self.attempts.exhausted(step, outcome.status):
            message = f"{outcome.message}, {enough}"
            self._give_up(step, outcome.status.capitalize(), message, outcome.remedy)

    def _give_up(self, step: Step, kind: str, message: str, remedy: str = "") -> None:
        """Record that the step failed, for a worker that could not."""
        now: dict[str, Any] = {"started": time.time(), "ended": time.time(), "seconds": 0.0}
        drive = self.folder.name
        failure = record(step, "failed", error=(kind, message), drive=drive, **now)
        failure["error"] |= {"remedy": remedy} if remedy else {}
        self.store.fail(step, failure)
        self._fail(step, message, remedy)

    def _fail(self, step: Step, message: str, remedy: str = "") -> None:
        """Tell that the step failed. Raises UserError where there is no use in any other step."""
        if step.kind == step_kinds.PREFLIGHT:
            problems, error = refusal(self.store, step, message)
            for problem in problems if len(problems) > 1 else ():
                self.tell(Event("notice", message=f"problem: {problem}"))
            raise error
        self.frontier.states.fail(step, message)
        self.tell(Event("failed", step, message))
        if remedy:
            raise BrokenError(
                f"stopped, as every other step would fail alike: {step.label}: {message}; "
                f"{remedy}, then start again: what is finished stays"
            )
