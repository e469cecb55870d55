"""Drives a study to its end: propose, expand, see what is missing, launch, collect, decide.

All it knows is in the store, so it may be killed at any moment and started again, and several may
drive one study at once: leases keep them from doing a step twice. Nothing here imports torch.
"""

import contextlib
import shutil
import signal
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from ablate.errors import UserError
from ablate.evaluate import benchmarks, suites
from ablate.files import MISSHAPEN, read_json, write_json, writing
from ablate.launch import Backend, Job, open_backend
from ablate.lease import Process
from ablate.record import record
from ablate.results import (
    Evaluation,
    Failure,
    StoredResults,
    load_evaluation,
    write_decision,
)
from ablate.search.decision import Decision
from ablate.search.explore import Round, explore
from ablate.slots import end
from ablate.slurm import left_behind, scancel
from ablate.steps import Step, ancestors, steps_for
from ablate.store import BadArtifactError, Store
from ablate.study import Candidate, Study
from ablate.worker import EXECUTORS, Executors, Outcome

ATTEMPTS = 3
"""How often a step is tried whose process dies without a word, or whose parents go bad."""
LOOK = 1.0
"""Seconds after which the store is looked through again, for what other drivers have done."""
SHARED = {"prealign"}
"""Kinds of steps that many candidates need: each is a chain of its own."""


@dataclass(frozen=True)
class Event:
    """Something happened. `waiting`: another driver has the step; `lost`: it will be tried again;
    `corrupt`: an artifact was set aside and will be made again.
    """

    what: Literal["started", "done", "failed", "lost", "corrupt", "waiting", "decided"]
    step: Step | None = None
    message: str = ""
    decision: Decision | None = None


OnEvent = Callable[[Event], None]


def drive(
    study: Study,
    rounds: int | None = None,
    backend: str = "local",
    jobs: int | None = None,
    *,
    home: Path,
    on_event: OnEvent = lambda event: None,
    executors: Executors = EXECUTORS,
) -> list[Round]:
    """Make rounds 1 to `rounds` (default: all) true, doing only what the store lacks.

    Steps that failed before are tried once more; candidates that fail again are failed in their
    round. Ctrl-C and SIGTERM end what runs (its work folders stay) and pass on as
    KeyboardInterrupt and SystemExit(143). Raises UserError for a full or read-only disk, and before
    anything is started for a published benchmark that is not here.
    """
    token = uuid.uuid4().hex[:12]
    driver = _Driver(study, rounds, Store(home), token, on_event)
    with writing(home), _terminable():
        if not driver.settled():
            benchmarks.require(suites.resolve(study.suite))
            _sweep(home)
            folder = home / "drives" / token
            mine = {"study": study.name, "process": asdict(Process.this())}
            folder.mkdir(mode=0o700, parents=True)  # what processes print before their first step
            write_json(folder / "driver.json", mine)
            try:
                where = open_backend(backend, jobs, home, folder, study.infra, executors)
                with contextlib.closing(where):
                    driver.work(where)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        return driver.rounds()


def cancel(home: Path, study: Study | None = None) -> list[str]:
    """End the drivers of a study (None: of all) on this machine, and workers they left behind.

    What they were at stays in its work folders. Says what was ended, a line each.
    """
    ended = []
    for folder, name, driver in _drives(home):
        if study is not None and name != study.name:
            continue
        if end(driver, signal.SIGTERM):
            ended.append(f"driver of {name}, process {driver.pid}")
        elif driver.runs() is False:
            left = [worker for worker in _workers(folder) if end(worker, signal.SIGTERM)]
            ended += [f"worker of {name}, process {worker.pid}" for worker in left]
            jobs = left_behind(folder)
            scancel(jobs)
            ended += [f"job of {name}, {job}" for job in jobs]
    return ended


class _Driver:
    """One run of `drive`. As a `Lookup`, it answers for this drive: old failures do not count."""

    def __init__(
        self, study: Study, last: int | None, store: Store, token: str, on_event: OnEvent
    ) -> None:
        self.study, self.last, self.store, self.token = study, last, store, token
        self.tell = on_event
        self.stored = StoredResults(store, study)
        self.steps: dict[str, list[Step]] = {}
        self.results: dict[str, Evaluation] = {}
        self.failed: dict[str, str] = {}
        self.done: set[str] = set()
        self.absent: set[str] = set()  # not in the store when we last looked
        self.tries: Counter[str] = Counter()
        self.running: list[tuple[Job, list[Step]]] = []
        self.awaited: set[str] = set()

    def rounds(self) -> list[Round]:
        """The rounds as they stand; decisions that are new are written down."""
        found = explore(self.study, self, self.last)
        decided = [(turn, turn.decision) for turn in found if turn.decision]
        new = [one for turn, one in decided if self.decision(turn.number) != one.to_json()]
        if new:
            self._write_down([turn for turn, _ in decided], new)
        return found

    def _write_down(self, decided: Sequence[Round], new: Sequence[Decision]) -> None:
        """Store new decisions; as trials first, so that a driver killed in between repeats both."""
        from ablate.search.optuna_log import record_rounds

        journal = self.store.home / "studies" / self.study.name / "optuna.journal"
        record_rounds(journal, self.study, decided, self)
        for decision in new:
            write_decision(self.store.home, self.study, decision.round, decision.to_json())
            self.tell(Event("decided", decision=decision))

    def settled(self) -> bool:
        """Whether there is nothing to do: every candidate of every known round has a score."""
        return next(self._chains(self.rounds()), None) is None

    def work(self, backend: Backend) -> None:
        """Start chains and collect them until there is nothing left to do."""
        ready: deque[list[Step]] = deque()
        changed, looked = True, 0.0
        while True:
            if (changed and not ready) or time.monotonic() - looked > LOOK:
                self.absent.clear()
                ready, looked = deque(self._chains(self.rounds())), time.monotonic()
                if not ready and not self.running:
                    return
            self._start(ready, backend)
            changed = self._collect()
            if not changed:
                time.sleep(backend.pause)

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self._steps(candidate)
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
        failed = (step for step in steps if step.key in self.failed) if self.failed else iter(())
        return next((Failure(step, self.failed[step.key]) for step in failed), None)

    def decision(self, number: int) -> dict[str, Any] | None:
        return self.stored.decision(number)

    def _steps(self, candidate: Candidate) -> list[Step]:
        """The candidate's steps, worked out once: a study's names are its designs'."""
        if candidate.name not in self.steps:
            self.steps[candidate.name] = steps_for(candidate, self.study)
        return self.steps[candidate.name]

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

        A candidate is one chain once the steps it shares are there. Those of provisional rounds
        are wanted whoever wins, so they fill slots that would wait for a decision.
        """
        taken = {step.key for _, chain in self.running for step in chain}
        for one in rounds:
            for candidate in one.candidates:
                if not one.provisional and self.result(candidate) is not None:
                    continue
                missing = self._missing(self._steps(candidate)[-1])
                shared = [[step] for step in missing if step.kind in SHARED]
                for chain in shared if shared or one.provisional else [missing]:
                    keys = {step.key for step in chain}
                    if keys and not keys & taken and not keys & self.failed.keys():
                        taken |= keys
                        yield chain

    def _start(self, ready: deque[list[Step]], backend: Backend) -> None:
        """Fill the slots; a chain that another driver's worker has at hand is looked at later."""
        while ready and len(self.running) < backend.slots:
            chain = ready.popleft()
            if self.store.watch.held(self.store.leases(chain[0])):
                if chain[0].key not in self.awaited:
                    self.awaited.add(chain[0].key)
                    self.tell(Event("waiting", chain[0], "another worker is at it"))
            else:
                self.tell(Event("started", chain[0]))
                self.running.append((backend.start(chain), chain))

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
        match outcome.status:
            case "done":  # seen by the worker, and by us once the file server was asked
                if not self.store.committed(step):
                    self._again(step, "what it left is gone")
            case "full":
                raise UserError(f"{outcome.message}; make room and start again")
            case "failed":
                self.failed[step.key] = outcome.message
                self.tell(Event("failed", step, outcome.message))
            case "bad":
                self._forget(ancestors(chain), outcome.message)
                self._again(step, outcome.message)
            case "lost":
                self.store.require_room()
                self.tell(Event("lost", step, outcome.message))
                self._again(step, outcome.message)

    def _again(self, step: Step, message: str) -> None:
        """Leave the step to be tried again, or call it failed after so many times."""
        self.tries[step.key] += 1
        if self.tries[step.key] < ATTEMPTS:
            return
        said = f"{message}, {ATTEMPTS} times"
        now: dict[str, Any] = {"started": time.time(), "ended": time.time(), "seconds": 0.0}
        error = ("Lost", said)
        self.store.fail(step, record(step, "failed", error=error, drive=self.token, **now))
        self.failed[step.key] = said
        self.tell(Event("failed", step, said))


def _drives(home: Path) -> Iterator[tuple[Path, str, Process]]:
    """Every driver that left a folder: that, its study and its process."""
    for path in sorted((home / "drives").glob("*/driver.json")):
        with contextlib.suppress(OSError, ValueError, *MISSHAPEN):
            mine = read_json(path)
            yield path.parent, mine["study"], Process(**mine["process"])


def _workers(folder: Path) -> Iterator[Process]:
    for path in sorted(folder.glob("slot-*/worker.json")):
        with contextlib.suppress(OSError, ValueError, *MISSHAPEN):
            yield Process(**read_json(path))


def _sweep(home: Path) -> None:
    """Remove what drivers of this machine left that were killed, once their workers ended too."""
    for folder, _, driver in _drives(home):
        alive = any(process.runs() is not False for process in (driver, *_workers(folder)))
        if not alive and not left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as an exception, so that what was begun is ended in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
