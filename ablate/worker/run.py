"""What runs inside a job: one chain of steps, in one process or as many as the steps ask for.

Each step is done under its lease, from its parents' committed artifacts into a work folder, and is
committed or leaves the record of its failure. Where a job has several processes, one leads and does
all that; the others follow it through the executors. Nothing here imports torch: an executor does,
when a step needs it.
"""

import errno
import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ablate.catalog import plugins, step_kinds
from ablate.files import FULL, PASSING
from ablate.garbage import collect_rarely
from ablate.redaction import redact
from ablate.store.artifacts import BadArtifactError, Store
from ablate.store.lease import Lease, LeaseLostError
from ablate.store.record import forget_peak_memory, peak_memory_mb, record
from ablate.store.steps import Step, ancestors
from ablate.worker.caches import use_writable_caches
from ablate.worker.causes import disk_is_full, remedy_for_all, unwrap_retry
from ablate.worker.context import RunContext, StepContext
from ablate.worker.freed_memory import keep_freed_memory
from ablate.worker.log_capture import redirect_output
from ablate.worker.out_of_memory import advice
from ablate.worker.outcome import Outcome
from ablate.worker.process_group import ProcessGroup, StepRanks

Executor = Callable[["StepContext"], dict[str, Any]]
Executors = Mapping[str, str | Executor]
EXECUTORS: Executors = MappingProxyType({kind.name: kind.executor for kind in step_kinds.OURS})
"""What does each kind of step, as `module:function`, imported when first needed; a kind that is not
here is asked for its own."""

TOLD_TO_GO = threading.Event()
"""Set once this process is being ended from outside: what fails from then on fails of that, as a
data loader does whose workers are ended first."""


@dataclass(frozen=True)
class Worker:
    """Who does the steps of a chain, and with what; the outcome is written to `answer`."""

    store: Store
    where: RunContext
    executors: Executors
    team: ProcessGroup
    answer: Path | None = None

    def tell(self, outcome: Outcome) -> Outcome:
        """Write the outcome down for whoever started the chain."""
        if self.answer:
            outcome.leave(self.answer)
        return outcome


def run_chain(
    home: Path,
    steps: Sequence[Step],
    where: RunContext,
    executors: Executors = EXECUTORS,
    team: ProcessGroup | None = None,
    answer: Path | None = None,
) -> Outcome:
    """Do `steps` in order, each at most once in the world; those that are done are passed over.

    A failure ends the chain and leaves its record, and the `team` (default: this process alone),
    whose members may be anywhere in the step. SIGTERM and Ctrl-C must arrive as exceptions (see
    `ablate.launch.backends`): the step is given back and another attempt goes on with it.
    """
    use_writable_caches()
    keep_freed_memory()
    collect_rarely()
    worker = Worker(Store(home), where, executors, team or ProcessGroup(), answer)
    outcome = None
    try:
        outcome = _chain(worker, steps)
    finally:
        if outcome is None or outcome.status != "done":
            worker.team.close(in_order=False)
    return worker.tell(outcome)


def follow(home: Path, where: RunContext, executors: Executors, team: ProcessGroup) -> None:
    """What all but the first process of a job do: their part of each step that the first begins.

    An error is the leader's to record; what is printed goes to `process-<task>.log`.
    """
    use_writable_caches()
    keep_freed_memory()
    collect_rarely()
    store = Store(home)
    for turn in team.turns():
        step, work = Step.from_json(turn["step"]), Path(turn["work"])
        try:
            world = _world(team, where, step)
            if world:
                log = store.logs(step) / f"process-{team.task}.log"
                with redirect_output(log, where.whole_process):
                    _executor(step.kind, executors)(StepContext(step, store, where, work, world))
        except Exception as error:  # whatever a step's libraries raise
            team.fail(_error_words(error, step, where))


def _world(team: ProcessGroup, where: RunContext, step: Step) -> StepRanks | None:
    infra = where.of(step.kind)
    return team.world(infra.devices, infra.nodes)


def _chain(worker: Worker, steps: Sequence[Step]) -> Outcome:
    for step in steps:
        try:
            outcome = _run(worker, step)
        except BadArtifactError as error:
            return Outcome("bad", str(error), step.key)
        except OSError as error:
            if error.errno not in FULL | PASSING:
                raise
            if error.errno in FULL:
                return Outcome("full", str(error), step.key)
            return Outcome("lost", str(error), step.key, remedy=remedy_for_all(error))
        if outcome.status != "done":
            return outcome
    return Outcome("done")


def _run(worker: Worker, step: Step) -> Outcome:
    if worker.store.record(step) is not None:
        return Outcome("done")
    lease = worker.store.watch.take(worker.store.leases(step))
    if lease is None:
        return Outcome("busy", "another worker has it", step.key)
    with lease:
        outcome = None
        try:
            outcome = _leased(worker, step, lease)
        except LeaseLostError:
            outcome = Outcome("busy", "another worker took it over", step.key)
        finally:
            if outcome is None or outcome.status != "done":  # a commit takes the lease away
                lease.release()
        return outcome


def _leased(worker: Worker, step: Step, lease: Lease) -> Outcome:
    if not worker.store.begin(step, lease) or worker.store.recover(step, lease):
        return Outcome("done")
    return _attempt(worker, step, lease)


def _attempt(worker: Worker, step: Step, lease: Lease) -> Outcome:
    """Execute the step once, and commit it or keep the record of its failure."""
    for parent in step.parents.values():
        worker.store.verified(parent)
    attempt = Attempt(worker, step, lease)
    log = worker.store.logs(step) / f"attempt-{lease.number}.log"
    try:
        with redirect_output(log, worker.where.whole_process):
            result = attempt.execute()
        if not lease.held():
            raise LeaseLostError
        worker.store.commit(step, attempt.record("done", result=result), lease)
    except LeaseLostError:
        raise
    except Exception as error:  # whatever a step's libraries raise
        if end := _end_behind(error):
            raise end from None
        if isinstance(error, OSError) and error.errno in PASSING:
            raise
        worker.team.listen()
        if disk_is_full(error):
            return Outcome("full", _text_of(error), step.key)
        worker.store.require_room()
        return attempt.failed(_error_words(error, step, worker.where), remedy_for_all(error))
    return Outcome("done")


def _end_behind(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C or SIGTERM that an error was made of, as Python 3.11 does in making a class."""
    while isinstance(error, Exception):
        error = error.__cause__
    return error


class Attempt:
    """One execution of a step under its lease, and the record of it."""

    def __init__(self, worker: Worker, step: Step, lease: Lease) -> None:
        self.worker, self.step, self.lease = worker, step, lease
        self.devices = worker.where.of(step.kind).processes
        self.started, self._clock = time.time(), time.monotonic()
        self.work = worker.store.attempt(step, lease.number)
        forget_peak_memory()

    def execute(self) -> dict[str, Any]:
        """The executor's result, with all processes of the step at work."""
        worker, step = self.worker, self.step
        plugins.require_same(ancestor.spec for ancestor in ancestors([step]))
        world = _world(worker.team, worker.where, step)
        assert world is not None  # the leader is in every world
        context = StepContext(step, worker.store, worker.where, self.work, world, self.lease)
        with worker.team.at_work(self._last_word):
            worker.team.begin({"step": step.to_json(), "work": str(self.work)})
            return _executor(step.kind, worker.executors)(context)

    def record(self, status: Literal["done", "failed"], **more: Any) -> dict[str, Any]:
        """The step's record, as it stands."""
        return record(
            self.step,
            status,
            **more,
            started=self.started,
            ended=time.time(),
            seconds=round(time.monotonic() - self._clock, 3),
            device=self.worker.where.device,
            devices=self.devices,
            device_seconds=round(self.lease.seconds * self.devices, 3),
            restarts=self.lease.number - 1,
            peak_memory_mb=peak_memory_mb(),
            drive=self.worker.where.drive,
        )

    def failed(self, error: tuple[str, str], remedy: str = "") -> Outcome:
        """Keep the record of a failure: type and text of its error, and the `remedy` (see
        `Outcome`).

        Raises LeaseLostError where another has taken the step over.
        """
        if self.worker.store.record(self.step) is not None:  # whoever took it over has finished it
            return Outcome("done")
        if TOLD_TO_GO.is_set():
            return Outcome("stopped", f"it was being ended: {error[1]}", self.step.key)
        self.worker.store.put_down(self.step, self.lease)
        record = self.record("failed", error=error)
        record["error"] |= {"remedy": remedy} if remedy else {}
        self.worker.store.fail(self.step, record)
        return Outcome("failed", error[1], self.step.key, remedy=remedy)

    def _last_word(self, error: tuple[str, str] | None, message: str) -> None:
        """Of another thread, as another process failed (with an error) or died in our step."""
        if error is None:
            outcome = Outcome("lost", message, self.step.key)
        elif os.strerror(errno.ENOSPC) in error[1]:
            outcome = Outcome("full", error[1], self.step.key)
        else:
            try:
                outcome = self.failed(error)
            except LeaseLostError:
                outcome = Outcome("busy", "another worker took it over", self.step.key)
        self.lease.release()
        self.worker.tell(outcome)


def _executor(kind: str, executors: Executors) -> Executor:
    executor = executors.get(kind) or step_kinds.find(kind).executor
    return load_executor(executor) if isinstance(executor, str) else executor


def load_executor(named: str) -> Executor:
    """The executor `module:function`; ImportError or AttributeError if there is none."""
    module, _, name = named.partition(":")
    executor: Executor = getattr(importlib.import_module(module), name)
    return executor


def _error_words(error: BaseException, step: Step, where: RunContext) -> tuple[str, str]:
    """Type and text of an error in a step, with what to change where it ran out of memory."""
    infra = where.of(step.kind).model_dump()
    return type(unwrap_retry(error)).__name__, _text_of(error) + advice(
        error, step.kind, infra, where.more_memory
    )


def _text_of(error: BaseException) -> str:
    error = unwrap_retry(error)
    text = redact(str(error)).strip() or type(error).__name__
    return text if len(text) <= 500 else f"{text[:500]}..."
