"""What a stage that is trained in part leaves for the same stage at a larger share: its trunk.

    <prefix>/<steps done>/state/<rank>.safetensors, metrics.jsonl, bad-images.jsonl, origin.json

`prefix` is a folder of the step whatever its share. Up to the point at which its rate begins to
fall, a stage does the same however long it is (`TrainingConfig.trunk`): its state there is a
checkpoint from which a longer one goes on, to the same weights and metrics bit for bit. One is kept
a step, the furthest, and none once the whole is trained. Whole or not at all, with checksums.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablate.data.made import made, problem
from ablate.files import NO_FILE, flush, read_json, write_json
from ablate.store.record import machine, versions
from ablate.train import checkpoint

STATE, ORIGIN = "state", "origin.json"
JOURNALS = ("metrics.jsonl", "bad-images.jsonl")


def keep(prefix: Path, work: Path, step: int) -> None:
    """Keep the checkpoint in `work` after so many steps as the trunk; those before it go.

    It takes no room beside the checkpoint, whose files it shares.
    """

    def fill(folder: Path) -> None:
        _link(work / checkpoint.FOLDER / str(step), folder / STATE)
        for name in JOURNALS:
            if (work / name).is_file():
                shutil.copyfile(work / name, folder / name)
        write_json(folder / ORIGIN, {"step": step, "machine": machine(), "versions": versions()})

    with suppress(FileNotFoundError):  # the whole has just been trained, which needs no trunk
        made(prefix / str(step), fill)
    for other in _steps(prefix):
        if other < step:
            shutil.rmtree(prefix / str(other), ignore_errors=True)


def take(prefix: Path, work: Path, most: int) -> None:
    """Let a step that has not begun go on from the furthest trunk of at most so many steps.

    What it then is, is a step that was interrupted there; `pop_origin` tells.
    """
    states = work / checkpoint.FOLDER
    if checkpoint.step_of(states):
        return
    (work / ORIGIN).unlink(missing_ok=True)  # of a trunk that a kill kept from coming
    for step in sorted(_steps(prefix), reverse=True):
        if step <= most and _taken(prefix / str(step), work, states / str(step)):
            print(f"goes on after step {step:,}, which a smaller share has done", file=sys.stderr)
            return


def taken_over(work: Path) -> int:
    """How many steps were done before, in the trunk that was taken."""
    return int(read_json(work / ORIGIN)["step"]) if (work / ORIGIN).is_file() else 0


def pop_origin(work: Path) -> dict[str, Any]:
    """What a step's record says of the trunk it took, no longer in `work`; `{}` where it took none.

    `taken_over`: its steps; `trunk`: on what machine they were done, with which versions.
    """
    if not (work / ORIGIN).is_file():
        return {}
    origin = read_json(work / ORIGIN)
    (work / ORIGIN).unlink()
    return {"taken_over": origin.pop("step"), "trunk": origin}


def _taken(folder: Path, work: Path, state: Path) -> bool:
    """Whether the trunk in this folder was there and whole; then it is in `work`."""
    draft = state.with_name(f"{state.name}.partial")
    try:
        if fault := problem(folder):
            print(f"{folder}: {fault}; left alone", file=sys.stderr)
            return False
        for name in JOURNALS:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, work / name)
        shutil.rmtree(draft, ignore_errors=True)
        _link(folder / STATE, draft)
        shutil.copyfile(folder / ORIGIN, work / ORIGIN)
    except NO_FILE:  # a further one has just come in its place
        return False
    draft.replace(state)
    flush(state.parent)
    return True


def _link(source: Path, target: Path) -> None:
    """The files of a folder in another, without their bytes where the file system can do so."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        try:
            os.link(path, target / path.name)
        except OSError as error:
            if isinstance(error, NO_FILE):
                raise
            shutil.copyfile(path, target / path.name)
            flush(target / path.name)


def _steps(prefix: Path) -> list[int]:
    return [int(path.name) for path in prefix.glob("*") if path.name.isdecimal()]
