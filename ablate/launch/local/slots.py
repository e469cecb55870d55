"""Slots of this machine: worker processes that take chain after chain from a mailbox.

A slot is one submitit job that lives as long as its driver needs it, so that imports are paid once
a slot; it has a process for each device that a step may ask for. submitit's local executor has no
queue, overwrites CUDA_VISIBLE_DEVICES and leaves a cancelled job's children behind: the mailbox,
our own environment and a session of its own for each worker keep those promises. A slot whose
process died is begun anew with the next chain; one whose driver died finishes its chain and ends,
and until then no other driver here begins a step on its device.
"""

import contextlib
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from ablate.files import UNREADABLE, read_json, write_json
from ablate.launch.drives import drives
from ablate.launch.log_tail import log_tail
from ablate.launch.protocol import Drive
from ablate.store.process import Process
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.outcome import Outcome
from ablate.worker.process_group import ProcessGroup
from ablate.worker.run import Executors, follow, run_chain

PAUSE = 0.02
"""Seconds between two looks into a mailbox."""
LOOK = 1.0
"""Seconds between two looks for workers whose driver is dead."""
GRACE = 5.0
"""Seconds a worker has to give back its step when it is ended."""


@dataclass
class WorkerProcess:
    """One worker and its mailbox: `N.chain.json` in, `N.outcome.json` out.

    `cards`: its GPUs, as CUDA_VISIBLE_DEVICES has them; `processes`: how many it is of.
    """

    mailbox: Path
    cards: str
    processes: int = 1
    job: Any = None
    sent: int = 0

    def poll(self) -> Outcome | None:
        """The outcome of the chain sent last; `lost` if its process died first."""
        answer = self.mailbox / f"{self.sent}.outcome.json"
        dead = self.job.done()  # asked first: an answer may come between the two
        if answer.exists():
            return Outcome(**read_json(answer))
        return self._lost(self.job.stderr() or "") if dead else None

    def spent(self) -> bool:
        """Whether it has ended or, as several processes do after a failure, is about to."""
        outcome = self.poll() if self.processes > 1 else None
        return bool(self.job.done()) or (outcome is not None and outcome.status != "done")

    def _lost(self, log: str) -> Outcome:
        words = log_tail(log) or "it was killed, or out of memory"
        return Outcome("lost", f"its process died: {words}", log=log)

    def worker(self) -> Process | None:
        """The process that serves the mailbox, if it has begun."""
        with contextlib.suppress(*UNREADABLE):
            return Process(**read_json(self.mailbox / "worker.json"))
        return None


class Slots:
    """One slot for each of the `cards` (GPUs, or `""` for none).

    Each is of so many `processes`, and those of so many `threads`.
    """

    def __init__(self, drive: Drive, cards: list[str], processes: int, threads: int) -> None:
        self.home, self.folder, self.executors = drive.home, drive.folder, drive.executors
        self.pause, self.notice = PAUSE, ""
        self.where = replace(drive.where, whole_process=True)
        self.threads = threads
        self._slots = [
            WorkerProcess(drive.folder / f"slot-{n}", some, processes)
            for n, some in enumerate(cards)
        ]
        self._orphans: list[Orphan] = []
        self._looked = -math.inf

    @property
    def slots(self) -> int:
        """How many there are, less those whose device a worker has whose driver is dead."""
        if time.monotonic() - self._looked > LOOK:
            self._looked, before = time.monotonic(), self._orphans
            self._orphans = orphans(self.home)
            if self._orphans != before:
                self.notice = _whose(self._orphans)
        return len(self._slots) - len(self._taken())

    def _taken(self) -> list[WorkerProcess]:
        """The slots, at no chain of ours, that share their device with a worker of a dead driver:
        on GPUs those of the same card, on CPUs as many as there are such workers."""
        taken: list[WorkerProcess] = []
        for orphan in self._orphans:
            free = [slot for slot in self._slots if slot not in taken and self._free(slot)]
            shared = [slot for slot in free if _cards(slot.cards) & _cards(orphan.cards)]
            taken += shared if orphan.cards else [slot for slot in free if not slot.cards][-1:]
        return taken

    def _free(self, slot: WorkerProcess) -> bool:
        return slot.job is None or self._idle(slot)

    def start(self, chains: Sequence[Sequence[Step]]) -> list[WorkerProcess]:
        return [self._send(chain) for chain in chains]

    def adopt(self, drive: Path) -> Mapping[str, WorkerProcess]:
        """None: the workers of a dead driver end with the chain they are at (see `_taken`)."""
        return {}

    def _send(self, steps: Sequence[Step]) -> WorkerProcess:
        taken = self._taken()
        slot = next(slot for slot in self._slots if slot not in taken and self._free(slot))
        if slot.job is None or slot.spent():
            self._end([slot])
            shutil.rmtree(slot.mailbox, ignore_errors=True)
            slot.sent = 0
            slot.job = self._spawn(slot)
        slot.sent += 1
        chain = [step.to_json() for step in steps]
        write_json(slot.mailbox / f"{slot.sent}.chain.json", chain)
        return replace(slot)

    def close(self) -> bool:
        self._end(self._slots)
        return True

    def _end(self, slots: Sequence[WorkerProcess]) -> None:
        """Ask every worker to give its step back, then kill what is left, children included."""
        begun = [slot for slot in slots if slot.job is not None]
        deadline = time.monotonic() + GRACE
        asked: set[Path] = set()
        while any(not slot.job.done() for slot in begun) and time.monotonic() < deadline:
            for slot in begun:
                worker = slot.worker()
                if worker and slot.mailbox not in asked:
                    worker.end(signal.SIGTERM)
                    asked.add(slot.mailbox)
            time.sleep(PAUSE)
        for slot in begun:
            if not slot.job.done():
                if worker := slot.worker():
                    worker.end(signal.SIGKILL)
                slot.job._process.kill()
            slot.job._process.wait()

    def _idle(self, slot: WorkerProcess) -> bool:
        return slot.poll() is not None

    def _spawn(self, slot: WorkerProcess) -> Any:
        import submitit

        executor = submitit.LocalExecutor(folder=self.folder / "submitit")
        slot.mailbox.mkdir(mode=0o700, parents=True)
        (slot.mailbox / "cards").write_text(slot.cards, encoding="utf-8")
        year = 60 * 24 * 365  # submitit's own limit is two minutes
        executor.update_parameters(timeout_min=year, gpus_per_node=0, tasks_per_node=slot.processes)
        with _deaf_to_ctrl_c():
            return executor.submit(
                serve,
                slot.mailbox,
                self.home,
                self.where,
                dict(self.executors),
                {"OMP_NUM_THREADS": str(self.threads), "CUDA_VISIBLE_DEVICES": slot.cards},
                Process.this(),
            )


def workers(drive: Path) -> list[Process]:
    """The workers of the drive whose folder this is, whether or not they still run."""
    workers = (WorkerProcess(mailbox, "").worker() for mailbox in sorted(drive.glob("slot-*")))
    return [worker for worker in workers if worker]


@dataclass(frozen=True)
class Orphan:
    """A worker of this machine that lives on though its driver is dead; its GPUs (`""`: none)."""

    worker: Process
    study: str
    cards: str


def orphans(home: Path) -> list[Orphan]:
    """The workers here, of any study, that finish a chain which nobody collects."""
    orphans = []
    for drive in drives(home):
        if drive.driver.runs() is not False:
            continue
        for mailbox in sorted(drive.folder.glob("slot-*")):
            worker = WorkerProcess(mailbox, "").worker()
            if worker and worker.runs():
                with contextlib.suppress(OSError):  # it has just been swept away
                    cards = (mailbox / "cards").read_text(encoding="utf-8")
                    orphans.append(Orphan(worker, drive.study, cards))
    return orphans


def _whose(left: Sequence[Orphan]) -> str:
    """What a driver says of them."""
    if not left:
        return "the workers whose driver was dead have ended"
    which = ", ".join(f"process {orphan.worker.pid} of {orphan.study}" for orphan in left)
    return (
        f"waiting for their device: {which}; their driver is dead, they finish what they are at "
        f"(`kill {' '.join(str(orphan.worker.pid) for orphan in left)}` ends them)"
    )


def _cards(named: str) -> set[str]:
    return {card for card in named.split(",") if card}


def serve(
    mailbox: Path,
    home: Path,
    where: RunContext,
    executors: Executors,
    environment: Mapping[str, str],
    driver: Process,
) -> None:
    """A slot's process: does the chains put into `mailbox` until its driver ends it, or is gone.

    Of several processes the first does so, and the others follow it. The environment is set before
    anything heavy is imported. SIGTERM interrupts a step, which is given back. Each process leads
    its own session: a Ctrl-C is the driver's to handle, and killing the group takes children such
    as data loaders along.
    """
    os.environ.update({"TOKENIZERS_PARALLELISM": "false", **environment})
    with contextlib.suppress(OSError):
        os.setsid()
    me = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == me:
            raise KeyboardInterrupt
        os._exit(128 + number)  # a forked data loader inherits this handler

    signal.signal(signal.SIGTERM, stop)
    try:
        team = ProcessGroup.of_job()
        if team.leads:
            write_json(mailbox / "worker.json", asdict(Process.this()))
        team.meet(mailbox / "team")
        if not team.leads:
            return follow(home, where, executors, team)
        for number, chain in _mail(mailbox, driver):
            steps = [Step.from_json(step) for step in chain]
            answer = mailbox / f"{number}.outcome.json"
            outcome = run_chain(home, steps, where, executors, team, answer)
            if team.tasks > 1 and outcome.status != "done":
                os._exit(1)  # the others have been ended
        return team.close(in_order=True)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)  # at once: libraries' exit handlers may hang after this


def _mail(mailbox: Path, driver: Process) -> Iterator[tuple[int, Any]]:
    """The chains in the order they come, until the driver no longer runs."""
    number = 1
    while driver.runs() is not False:
        looked = time.monotonic()
        while time.monotonic() - looked < 1.0:
            chain = mailbox / f"{number}.chain.json"
            if chain.exists():
                yield number, read_json(chain)
                number += 1
                break
            time.sleep(PAUSE)


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes begun here ignore a Ctrl-C in the terminal: their driver ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
