"""`ablate bake`: makes the shipped micro weights again, as steps like any other."""

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ablate.catalog.bake_targets import TARGETS
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.commands.output import emit_json, note, say
from ablate.errors import UserError, nearest
from ablate.files import home, writing
from ablate.humanize import duration
from ablate.launch.devices import chosen_device
from ablate.store.artifacts import Store
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.run import run_chain

BESIDE = {"spec.json", "record.json", "manifest.json", "metrics.jsonl"}


def run(names: Sequence[str], install: bool, as_json: bool) -> None:
    """Bake the named weights (default: all) and print where each lies; `install` ships them."""
    for name in names:
        if name not in TARGETS:
            raise UserError(f"no weights '{name}' to bake{nearest(name, TARGETS)}")
    store = Store(home())
    made = {}
    with writing(store.home):
        for name in names or TARGETS:
            made[name] = _bake(store, name)
            if install:
                _install(made[name])
    if as_json:
        emit_json({name: str(folder) for name, folder in made.items()})
    else:
        for name, folder in made.items():
            say(f"{name}: {folder}")


def _bake(store: Store, name: str) -> Path:
    spec = {"target": name, "seed": 0, "steps": TARGETS[name]}
    step = Step("bake", name, spec)
    note(f"baking {name}, {TARGETS[name]} steps ...")
    with _progress(store, step):
        outcome = run_chain(store.home, [step], RunContext(chosen_device("auto")))
    if outcome.status != "done":
        raise UserError(f"bake {name}: {outcome.message}; see `ablate logs bake/{name}`")
    record = store.record(step) or {}
    note(f"baked {name} in {duration(record['seconds'])}")
    return store.folder(step)


@contextmanager
def _progress(store: Store, step: Step, every: float = 15.0) -> Iterator[None]:
    """A line now and then while the step is at work in this process."""
    over, stream = threading.Event(), sys.stderr  # the step has its own sys.stderr

    def watch() -> None:
        while not over.wait(every):
            at = store.progress(step)
            if at and at.total:
                print(f"  {step.slug}: {at.done} of {at.total} steps", file=stream, flush=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _install(folder: Path) -> None:
    """Put the payload among the shipped weights."""
    for path in folder.iterdir():
        target = WEIGHTS / "micro" / path.name
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        elif path.name not in BESIDE:
            shutil.copyfile(path, target)
