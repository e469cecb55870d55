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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import launchers, step_kinds, suites
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.driver import sessions as drives
from ablate.driver.retries import RetryPolicy
from ablate.errors import BrokenError, UserError
from ablate.files import unwritable, writing
from ablate.home import Home
from ablate.launch.backends import open_backend
from ablate.launch.protocol import Backend, Job
from ablate.preflight.step import passed, preflight_step, refusal
from ablate.search.explore import rounds_so_far
from ablate.signals import terminable
from ablate.store.artifacts import BadArtifactError, Store
from ablate.store.record import record
from ablate.store.results import (
    Evaluation,
    Failure,
    StoredResults,
    load_evaluation,
    write_decision,
)
from ablate.store.steps import Step, ancestors
from ablate.strategies import Decision, Round
from ablate.worker.outcome import Outcome
from ablate.worker.run import EXECUTORS, Executors

LOOK = 1.0
"""Seconds after which the store is looked through again, for what other drivers have done."""
SHARE = 20
"""Such looks take at most one part in so many of the time: those at many candidates are rare."""


@dataclass(frozen=True)
class Event:
    """Something happened. `submitted`: the step is first in a chain that a backend took, where it
    may wait for its turn; `started`: it comes next in a chain; `waiting`: another driver has it;
    `lost`, `stopped`: it will be tried again; `corrupt`: an artifact was set aside and will be made
    again; `notice`: no step, but the backend has something to say.
    """

    what: Literal[
        "submitted",
        "started",
        "done",
        "failed",
        "lost",
        "stopped",
        "corrupt",
        "waiting",
        "decided",
        "notice",
    ]
    step: Step | None = None
    message: str = ""
    decision: Decision | None = None


OnEvent = Callable[[Event], None]


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
    driver = _Driver(study, rounds, Store(home), folder, backend, on_event)
    with writing(home), contextlib.nullcontext() if stays else terminable():
        if not driver.settled():
            benchmarks.require(suites.resolve(study.suite))
            if step_kinds.PREFLIGHT in executors:
                driver.preflight = preflight_step(study)
            where = (home, folder, study.infra, executors)
            driver.run(partial(open_backend, backend, jobs, *where), stays)
        elif stays:  # its jobs came to the end while it waited for its turn
            shutil.rmtree(folder, ignore_errors=True)
        return driver.rounds()


class _Driver:
    """One run of `drive`, which remembers what it found; as a `Lookup`, it answers from that."""

    def __init__(
        self, study: Study, last: int | None, store: Store, folder: Path, backend: str, say: OnEvent
    ) -> None:
        self.study, self.last, self.store, self.folder = study, last, store, folder
        self.tell = say
        self.stored = StoredResults(store, study)
        self.job_signature = cache(study.infra.job_signature)
        self.results: dict[str, Evaluation] = {}
        self.failed: dict[str, str] = {}
        self.failing = store.failing()
        self.done: set[str] = set()
        self.absent: set[str] = set()  # not in the store when we last looked
        self.attempts = RetryPolicy(store)
        self.running: list[tuple[Job, list[Step]]] = []
        self.awaited: set[str] = set()
        self.tenure = drives.SessionOwnership(store.home, study.id, store.watch, backend)
        self.adopted: dict[str, Job] = {}  # of dead drivers, by their steps
        self.noticed = ""
        self.preflight: Step | None = None

    def rounds(self) -> list[Round]:
        """The rounds as they stand; decisions that are new are written down."""
        found = rounds_so_far(self.study, self, self.last)
        decided = [(turn, turn.decision) for turn in found if turn.decision]
        new = [one for turn, one in decided if self.decision(turn.number) != one.to_json()]
        if new:
            self._write_down([turn for turn, _ in decided], new)
        return found

    def _write_down(self, decided: Sequence[Round], new: Sequence[Decision]) -> None:
        """Store new decisions; as trials first, so that a driver killed in between repeats both."""
        from ablate.search.optuna_log import record_rounds

        journal = Home(self.store.home).study(self.study.id) / "optuna.journal"
        record_rounds(journal, self.study, decided, self)
        for decision in new:
            write_decision(self.store.home, self.study, decision.round, decision.to_json())
            self.tell(Event("decided", decision=decision))

    def settled(self) -> bool:
        """Whether there is nothing to do: every candidate of every known round has ended."""
        return next(self._chains(self.rounds()), None) is None

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
                self.absent.clear()
                self._forgive()
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

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.stored.steps(candidate)
        last = steps[-1]
        if last.key not in self.results and self._is_done(last):
            try:
                found = load_evaluation(self.store, last)
            except BadArtifactError as error:
                self._forget([last], str(error))
                found = None
            if found:
                self.results[last.key] = found
        if last.key in self.results:
            return self.results[last.key]
        failed = next((step for step in steps if self._has_failed(step)), None)
        return Failure(failed, self.failed[failed.key]) if failed else None

    def decision(self, number: int) -> dict[str, Any] | None:
        return self.stored.decision(number)

    def _is_done(self, step: Step) -> bool:
        if step.key in self.done:
            return True
        if step.key in self.absent:
            return False
        if self.store.record(step) is None:
            self.absent.add(step.key)
            return False
        if not self.store.sound(step):
            self._forget([step], "an artifact was damaged; it was set aside and is made again")
            return False
        self.done.add(step.key)
        return True

    def _has_failed(self, step: Step) -> bool:
        """Whether its last attempt failed, in this drive or before."""
        if step.key not in self.failed and step.dirname in self.failing:
            record = None if self._is_done(step) else self.store.failure(step)
            if record and record["error"].get("remedy") and record["drive"] != self.folder.name:
                self.store.forgive(step)  # it has been mended since, or is told again
            elif record:
                self.failed[step.key] = record["error"]["message"]
        return step.key in self.failed

    def _forgive(self) -> None:
        """Look anew at what has failed: `ablate retry`, anywhere, makes us forget it."""
        before, self.failing = self.failing, self.store.failing()
        forgiven = {name[-12:] for name in before - self.failing}
        self.failed = {key: said for key, said in self.failed.items() if key[:12] not in forgiven}

    def _forget(self, steps: Sequence[Step], message: str) -> None:
        """Look at these steps in the store again: one of them is gone."""
        self.done.difference_update(step.key for step in steps)
        self.tell(Event("corrupt", steps[-1], message))

    def _missing(self, step: Step) -> list[Step]:
        """What must be done to have the step, in order; nothing above what is there."""
        if self._is_done(step):
            return []
        above = [one for parent in step.parents.values() for one in self._missing(parent)]
        return [*above, step]

    def _chains(self, rounds: Sequence[Round]) -> Iterator[list[Step]]:
        """The chains that can start now, the most urgent first.

        A candidate is one chain once the steps of its experts are there; each expert is a chain,
        for all candidates that have it. Those of provisional rounds are wanted whoever wins, so
        they fill slots that would wait for a decision.
        """
        taken = {step.key for _, chain in self.running for step in chain}
        for one in rounds:
            for candidate in one.candidates:
                if not one.provisional and self.result(candidate) is not None:
                    continue
                missing = self._missing(self.stored.steps(candidate)[-1])
                shared = _of_experts(missing)
                for chain in shared if shared or one.provisional else [missing]:
                    keys = {step.key for step in chain}
                    if keys and not keys & taken and not any(map(self._has_failed, chain)):
                        taken |= keys
                        yield chain

    def _ready(self) -> Iterable[list[Step]]:
        """The chains to start now: the preflight alone, for as long as it has not passed."""
        if self.preflight is None or self._is_done(self.preflight):
            return self._chains(self.rounds())
        at_work = any(chain[0] is self.preflight for _, chain in self.running if chain)
        return [] if at_work else [[self.preflight]]

    def _start(self, ready: deque[list[Step]], backend: Backend) -> None:
        """Fill the slots; a chain that another driver has at hand is looked at later."""
        chains: list[list[Step]] = []
        while ready and len(self.running) + len(chains) < backend.slots:
            chain = self._alike(ready.popleft())
            first = chain[0]
            if job := self.adopted.get(first.key):
                self.adopted = {key: one for key, one in self.adopted.items() if one is not job}
                self._begun(job, chain)
            elif first.key in self.tenure.spoken_for or self.store.watch.held(
                self.store.leases(first)
            ):
                if first.key not in self.awaited:
                    self.awaited.add(first.key)
                    self.tell(Event("waiting", first, "another worker is at it"))
            else:
                chains.append(chain)
        jobs = backend.start(chains)
        self._notice(backend)
        for job, chain in zip(jobs, chains, strict=True):
            if job is not None:
                self._begun(job, chain)

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
            self.absent.difference_update(step.key for step in chain)
            while chain and self._is_done(chain[0]):
                changed = True
                self.tell(Event("done", chain.pop(0)))
                if chain and (outcome is None or self._is_done(chain[0])):
                    self.tell(Event("started", chain[0]))
            if outcome is not None:
                changed = True
                self.running = [one for one in self.running if one[0] is not job]
                if chain:
                    self._settle(outcome, chain)
        return changed

    def _settle(self, outcome: Outcome, chain: list[Step]) -> None:
        """Draw the consequences of a chain that ended before its end."""
        step = next((one for one in chain if one.key == outcome.step), chain[0])
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
                self._forget(ancestors(chain), outcome.message)
                self._again(step, outcome)
            case "lost" | "stopped":
                self.store.require_room()
                self.tell(Event(outcome.status, step, outcome.message))
                self._again(step, outcome)

    def _again(self, step: Step, outcome: Outcome) -> None:
        """Leave the step to be tried again, or call it failed after so many times."""
        assert outcome.status in ("lost", "stopped", "bad")
        if enough := self.attempts.exhausted(step, outcome.status):
            said = f"{outcome.message}, {enough}"
            self._give_up(step, outcome.status.capitalize(), said, outcome.remedy)

    def _give_up(self, step: Step, kind: str, said: str, remedy: str = "") -> None:
        """Record that the step failed, for a worker that could not."""
        now: dict[str, Any] = {"started": time.time(), "ended": time.time(), "seconds": 0.0}
        drive = self.folder.name
        failure = record(step, "failed", error=(kind, said), drive=drive, **now)
        failure["error"] |= {"remedy": remedy} if remedy else {}
        self.store.fail(step, failure)
        self._fail(step, said, remedy)

    def _fail(self, step: Step, said: str, remedy: str = "") -> None:
        """Tell that the step failed. Raises UserError where there is no use in any other step."""
        if step.kind == step_kinds.PREFLIGHT:
            problems, error = refusal(self.store, step, said)
            for problem in problems if len(problems) > 1 else ():
                self.tell(Event("notice", message=f"problem: {problem}"))
            raise error
        self.failed[step.key] = said
        self.tell(Event("failed", step, said))
        if remedy:
            raise BrokenError(
                f"stopped, as every other step would fail alike: {step.label}: {said}; "
                f"{remedy}, then start again: what is finished stays"
            )


def _of_experts(steps: Iterable[Step]) -> list[list[Step]]:
    """Of these steps those that train an expert alone, each expert's in order."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        if step_kinds.find(step.kind).per_expert:
            found.setdefault(step.slug, []).append(step)
    return list(found.values())
