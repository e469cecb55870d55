"""A step that a command needs, made where its user says: in this process, or by a launcher."""

import shutil
import time
import uuid

from ablate.commands.output import note
from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.files import home, writing
from ablate.home import Home
from ablate.launch.backends import open_backend
from ablate.launch.devices import chosen_device
from ablate.launch.protocol import Backend, Job
from ablate.signals import terminable
from ablate.store.artifacts import Store
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.outcome import Outcome
from ablate.worker.run import run_chain

PAUSE = 1.0
"""Seconds between two looks at a step that another process has at hand."""


def make(step: Step, backend: str | None, infra: Infra, what: str) -> None:
    """Have a step made that the store lacks, `what` in words; None as backend is this process.

    What was launched ends with this process. UserError where the step fails.
    """
    store = Store(home())
    if store.record(step) is not None:
        return
    note(f"{what} ...")
    with writing(store.home):
        outcome = _launched(store, step, backend, infra) if backend else _here(store, step, infra)
    if outcome.status != "done":
        raise UserError(f"{what}: {outcome.message}")


def _here(store: Store, step: Step, infra: Infra) -> Outcome:
    where = RunContext(chosen_device(infra.device), infra.model_dump(mode="json"))
    while (outcome := run_chain(store.home, [step], where)).status == "busy":
        time.sleep(PAUSE)
    return outcome


def _launched(store: Store, step: Step, backend: str, infra: Infra) -> Outcome:
    """By a launcher, as of a drive of its own that has this step alone."""
    folder = Home(store.home).drives / uuid.uuid4().hex[:12]
    with terminable():
        opened = open_backend(backend, 1, store.home, folder, infra)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return _ended(opened, step)
        finally:
            if opened.close():
                shutil.rmtree(folder, ignore_errors=True)


def _ended(backend: Backend, step: Step) -> Outcome:
    """How the step ended, begun again for as long as another has it at hand."""
    job: Job | None = None
    noticed = ""
    while True:
        begun = backend.start([[step]] if job is None and backend.slots else [])
        job = next(iter(begun), job)
        if backend.notice != noticed:
            noticed = backend.notice
            note(noticed)
        outcome = job.poll() if job else None
        if outcome and outcome.status != "busy":
            return outcome
        job = None if outcome else job
        time.sleep(backend.pause)
