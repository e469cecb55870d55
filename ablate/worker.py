"""What runs inside a job: one chain of steps, in one process, so that imports are paid once.

Each step is done under its lease, from its parents' committed artifacts into a work folder, and is
committed or leaves the record of its failure. Nothing here imports torch: an executor does, when a
step needs it.
"""

import contextlib
import errno
import importlib
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ablate.errors import UserError
from ablate.infra import Infra
from ablate.lease import Lease
from ablate.memory import advice
from ablate.record import forget_peak_memory, peak_memory_mb, record
from ablate.steps import Step, canonical
from ablate.store import FULL, BadArtifactError, Store

Executor = Callable[["StepContext"], dict[str, Any]]
Executors = Mapping[str, str | Executor]
EXECUTORS: Executors = MappingProxyType(
    {
        "prealign": "ablate.train.stage:train",
        "pretrain": "ablate.train.stage:train",
        "finetune": "ablate.train.stage:train",
        "evaluate": "ablate.evaluate.score:evaluate",
        "bake": "ablate.bake.run:bake",
    }
)
"""What does each kind of step, as `module:function`; imported when first needed."""

TOLD_TO_GO = threading.Event()
"""Set once this process is being ended from outside: what fails from then on fails of that, as a
data loader does whose workers are ended first."""


class LeaseLostError(Exception):
    """Another worker took this one for dead and has the step now."""


@dataclass(frozen=True)
class Outcome:
    """How a chain ended, why in a line, and the key of the step it ended at.

    `busy`: another worker has that step; `full`: the disk is; `bad`: a parent's checksum does not
    hold; `lost`: the process died without a word; `stopped`: it had to go, through no fault of the
    step's; `memory`: it was killed for the memory it took.
    """

    status: Literal["done", "failed", "busy", "full", "bad", "lost", "stopped", "memory"]
    message: str = ""
    step: str = ""


@dataclass(frozen=True)
class Place:
    """Where a chain runs. None of it is in a key.

    `device`: `cpu` or `cuda`; `infra`: the study's; `drive`: token of the driver that asked, kept
    in records of failure so that it does not try again; `whole_process`: whether all that the
    process prints belongs to the step, or (in the driver's own process) only what Python prints.
    """

    device: str = "cpu"
    infra: Mapping[str, Any] = field(default_factory=dict)
    drive: str = ""
    whole_process: bool = False


class StepContext:
    """What an executor is given: its inputs, the folder it fills, and whom to tell.

    `parents`: committed folders by role; `work`: the payload goes here, and whatever lets a later
    attempt go on; what lies in it at the end is the artifact. `infra`: how to run, never what.
    """

    def __init__(self, step: Step, store: Store, place: Place, lease: Lease) -> None:
        self.step_kind = step.kind
        # In the one order that the key has: another order of parts is another rounding of sums.
        self.spec = json.loads(canonical(step.spec))
        self.parents = {role: store.verified(parent) for role, parent in step.parents.items()}
        self.work = store.work(step)
        self.home = store.home
        self.infra = Infra.model_validate(place.infra).of(step.kind).model_dump(mode="json")
        self.device = place.device
        self._lease = lease
        self._log = self.work / "metrics.jsonl"

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far the step is; as cheap as setting a variable, the lease's beat writes it."""
        if self._lease.lost:
            raise LeaseLostError
        self._lease.done, self._lease.total, self._lease.note = done, total, note

    def log(self, metrics: dict[str, Any]) -> None:
        """Append one row, such as `{"step": 3, "loss": 2.1}`, to `metrics.jsonl`."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop the rows after `step`, which a resumed run is about to write again."""
        if self._log.exists():
            lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = (line for line in lines if line.endswith("\n"))
            kept = [line for line in whole if json.loads(line).get("step", 0) <= step]
            self._log.write_text("".join(kept), encoding="utf-8")


def run_chain(
    home: Path,
    steps: Sequence[Step],
    place: Place,
    executors: Executors = EXECUTORS,
) -> Outcome:
    """Do `steps` in order, each at most once in the world; those that are done are passed over.

    A failure ends the chain and leaves its record. SIGTERM and Ctrl-C must arrive as exceptions
    (see `ablate.launch`): the step is given back and another attempt goes on with it.
    """
    store = Store(home)
    for step in steps:
        try:
            outcome = _run(store, step, place, executors)
        except BadArtifactError as error:
            return Outcome("bad", str(error), step.key)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return Outcome("full", str(error), step.key)
        if outcome.status != "done":
            return outcome
    return Outcome("done")


def _run(store: Store, step: Step, place: Place, executors: Executors) -> Outcome:
    if store.record(step) is not None:
        return Outcome("done")
    lease = store.watch.take(store.leases(step))
    if lease is None:
        return Outcome("busy", "another worker has it", step.key)
    with lease:
        outcome = None
        try:
            outcome = _leased(store, step, place, lease, executors)
        finally:
            if outcome is None or outcome.status != "done":  # a commit takes the lease away
                lease.release()
        return outcome


def _leased(store: Store, step: Step, place: Place, lease: Lease, executors: Executors) -> Outcome:
    if store.record(step) is not None:  # committed between our look and our lease
        shutil.rmtree(lease.folder, ignore_errors=True)
        return Outcome("done")
    if store.recover(step):
        return Outcome("done")
    return _attempt(store, step, place, lease, executors)


def _attempt(
    store: Store,
    step: Step,
    place: Place,
    lease: Lease,
    executors: Executors,
) -> Outcome:
    """Execute the step once, and commit it or keep the record of its failure."""
    context = StepContext(step, store, place, lease)
    context.work.mkdir(parents=True, exist_ok=True)
    started, clock = time.time(), time.monotonic()
    forget_peak_memory()

    def spent() -> dict[str, Any]:
        return {
            "started": started,
            "ended": time.time(),
            "seconds": round(time.monotonic() - clock, 3),
            "device": place.device,
            "device_seconds": round(lease.seconds, 3),
            "restarts": lease.number - 1,
            "peak_memory_mb": peak_memory_mb(),
            "drive": place.drive,
        }

    log = store.logs(step) / f"attempt-{lease.number}.log"
    try:
        with _captured(log, place.whole_process):
            result = _executor(step.kind, executors)(context)
        if not lease.held():
            raise LeaseLostError
        store.commit(step, record(step, "done", result=result, **spent()))
    except LeaseLostError:
        return Outcome("busy", "another worker took it over", step.key)
    except Exception as error:
        if _disk_is_full(error):
            return Outcome("full", str(error), step.key)
        if store.record(step) is not None:  # whoever took it over has finished it
            return Outcome("done")
        if TOLD_TO_GO.is_set():
            return Outcome("stopped", f"it was being ended: {_said(error)}", step.key)
        said = _said(error) + advice(error, step.kind, context.infra)
        store.fail(step, record(step, "failed", error=(type(error).__name__, said), **spent()))
        return Outcome("failed", said, step.key)
    return Outcome("done")


def _executor(kind: str, executors: Executors) -> Executor:
    found = executors[kind]
    if not isinstance(found, str):
        return found
    module, _, name = found.partition(":")
    executor: Executor = getattr(importlib.import_module(module), name)
    return executor


@contextlib.contextmanager
def _captured(log: Path, whole_process: bool) -> Iterator[None]:
    """Send what is printed to the attempt's log, with the traceback of what went wrong."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as file, contextlib.ExitStack() as stack:
        if whole_process:
            stack.enter_context(_descriptors(file.fileno()))
        else:
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
        try:
            yield
        except BaseException as error:
            told = f"{error}\n" if isinstance(error, UserError) else traceback.format_exc()
            with contextlib.suppress(OSError):
                file.write(told)
            raise


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    """Standard output and error into `target`, also what C code and child processes write."""
    streams = (sys.stdout, sys.stderr)
    saved = [os.dup(number) for number in (1, 2)]
    try:
        for number, stream in zip((1, 2), streams, strict=True):
            stream.flush()
            os.dup2(target, number)
        yield
    finally:
        for number, stream, old in zip((1, 2), streams, saved, strict=True):
            with contextlib.suppress(OSError):
                stream.flush()
            os.dup2(old, number)
            os.close(old)


def _disk_is_full(error: BaseException) -> bool:
    """Also where a library has wrapped the error of the system, as safetensors does."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        if os.strerror(errno.ENOSPC) in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _said(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= 500 else f"{text[:500]}..."
