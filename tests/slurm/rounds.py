"""The study that the cluster is tried with, `micro/rounds`, and what became of it.

It is short enough for CI: all its rounds, over two of its five experts, so that a decision follows
from another. ROUNDS=full runs it as it is.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.files import read_json

STUDY = "micro/rounds"
SHORT = [
    "explore.pool=[convnext-micro@128, sam-micro@128]",
    "base.recipe.prealign.steps=8",
    "base.recipe.prealign.batch_size=4",
    "base.recipe.prealign.warm_projector=4",
    "base.recipe.pretrain.steps=12",
    "base.recipe.pretrain.batch_size=4",
    "base.recipe.finetune.steps=40",
    "base.recipe.finetune.batch_size=4",
    "data.pairs.images=64",
    "data.conversations.images=64",
    "suite=micro-smoke",
    "infra.checkpoint_every_steps=1",
]
PLACE = [
    "infra.slurm.partition=scavenge",
    "infra.slurm.cpus=1",  # as many threads as on this machine: another number, another rounding
    "infra.slurm.gpus=2",  # all of a node's, so that the jobs are spread over the nodes
]
FULL = os.environ.get("ROUNDS") == "full"
STEPS = 36 if FULL else 15
"""Steps of the study: each expert and the base is pre-aligned, each candidate has 3 steps more."""
SECONDS = 7200 if FULL else 1800
"""What the study may take, on a machine that has other work; twice as much where it is broken."""


def run(backend: str, *more: str) -> list[str]:
    """What Python is told to drive the study, with `more` of its fields set."""
    fields = [*([] if FULL else SHORT), *PLACE, *more]
    sets = [word for field in fields for word in ("--set", field)]
    jobs = {"local": "2", "slurm": "3"}[backend]
    return ["-m", "ablate", "run", STUDY, *sets, "--backend", backend, "--jobs", jobs]


class Driver:
    """A process that drives a study, as a user starts it; it prints into a file in `home`."""

    def __init__(self, home: Path, environment: Mapping[str, str], words: Sequence[str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.printed = home / f"driver-{time.monotonic_ns()}.txt"
        with self.printed.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                env={**os.environ, **environment, "ABLATE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def runs(self) -> bool:
        """Whether it has not ended; one that ended other than well fails the test."""
        code = self.process.poll()
        assert code in (None, 0), f"a driver ended with {code}:\n{self.printed.read_text()}"
        return code is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it in one way or another, and wait until it has."""
        self.process.send_signal(number)
        self.process.wait(timeout=60)

    def finish(self, seconds: float = SECONDS) -> None:
        """Wait for its end, which must be a good one."""
        self.process.wait(timeout=seconds)
        self.runs()


def results(home: Path) -> dict[str, Any]:
    """All that the study came to, to the digit: every decision, and the checksum of every file.

    Weights, loss curves, answers and specs are among the files. Records are not: they tell of
    times and machines.
    """
    decided = {path.name: read_json(path) for path in home.glob(f"studies/{STUDY}*/decisions/*")}
    return decided | {
        f"{folder.parent.name}/{folder.name}/{name}": checksum
        for folder in home.glob("store/*/*")
        if folder.parent.name != "preflight"  # it holds the backend and the environment
        for name, checksum in checksums(folder).items()
        if name != "record.json"
    }


def checksums(folder: Path) -> dict[str, str]:
    """The files an artifact is listed to hold, each of them there and as listed; none besides."""
    listed = read_json(folder / "manifest.json")["files"]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {*listed, "manifest.json"}
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    assert found == {name: entry["sha256"] for name, entry in listed.items()}
    return found


def records(home: Path) -> dict[str, bytes]:
    """Every record of the study's steps in the store; a step that is done again has another."""
    found = {}
    for path in home.glob("store/*/*/record.json"):
        if path.parent.parent.name == "preflight":
            continue  # none of them
        found[f"{path.parent.parent.name}-{path.parent.name}"] = path.read_bytes()
    return found
