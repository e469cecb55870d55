"""Thousands of finished candidates: what the driver, `status`, `plan` and `table` take of them.

    python benchmarks/scale.py [--candidates N]

The steps do nothing, and nothing is forced to the disk (`driver.py` measures that). The study's
arms are mixtures by learning rate, so that a third of their steps are shared. Seconds of CPU, also
of the driver with the steps that do nothing, and the most memory of each process. `read`, beside
them, is a process that parses every record there is and keeps them. Wanted at 10,000: below 20 ms
a candidate (driver), 10 s (the others) and 500 MB.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import chain, combinations, product
from pathlib import Path
from unittest import mock

import driver
from rows import Row, run

from ablate.config.study import load_study
from ablate.driver.scheduler import drive

BASE = Path(__file__).parents[1] / "sweeps" / "micro" / "base.yaml"
POOL = ("convnext-micro", "eva02-micro", "pix2struct-micro", "sam-micro", "dinov2-micro")
MEMORY = """
    status = open("/proc/self/status").read().splitlines()
    used = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    print(used, file=sys.stderr)
"""
"""The kernel's own figure, as what a child's begins with is its parent's."""
COMMAND = f"""
import runpy, sys
try:
    runpy.run_module("ablate", run_name="__main__")
finally:{MEMORY}"""
READ = f"""
import json, sys
from pathlib import Path
try:
    paths = Path(sys.argv[1]).glob("store/*/*/record.json")
    found = [json.loads(path.read_bytes()) for path in paths]
finally:{MEMORY}"""


def written(candidates: int, home: Path) -> Path:
    """A study of so many arms, in `home`."""
    mixtures = chain.from_iterable(combinations(POOL, size) for size in range(len(POOL) + 1))
    rates = range(1, candidates // 2 ** len(POOL) + 2)
    arms = [
        {
            "name": f"{'+'.join(name.partition('-')[0] for name in ('clip', *added))} at {rate}e-6",
            "set": {"encoders": ["clip-micro", *added], "recipe.finetune.train.llm": rate * 1e-6},
        }
        for added, rate in product(mixtures, rates)
    ]
    study = {
        "extends": str(BASE),
        "title": "Many",
        "question": "Which of many?",
        "explore": {"kind": "arms", "axis": "mixture and rate", "arms": arms[:candidates]},
        "base": {"recipe": {"prealign": None}},
    }
    path = home / "many.yaml"
    path.write_text(json.dumps(study), encoding="utf-8")
    return path


def measured(script: str, words: list[str], home: Path) -> tuple[float, float]:
    """CPU seconds and MB of a Python process with this script."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "ABLATE_HOME": str(home)}
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = now.ru_utime - before.ru_utime + now.ru_stime - before.ru_stime
    return spent, float(done.stderr.split()[-1])


def rows(candidates: int = 10_000) -> list[Row]:
    took: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="ablate-benchmark-") as folder:
        home = Path(folder)
        study = written(candidates, home)
        began = time.process_time()
        with mock.patch("os.fsync"):
            drive(load_study(str(study)), home=home, executors=driver.EXECUTORS, backend="inline")
        spent, memory = time.process_time() - began, peak()
        read, read_memory = measured(READ, [str(home)], home)
        for name in "status", "plan", "table":
            for turn in "at first", "again":
                took[f"{name} {turn}"] = measured(COMMAND, [name, str(study)], home)
    each = 1000 / candidates
    found = [
        Row(f"driver, a candidate of {candidates:,}", each * spent, "CPU ms", "read", each * read),
        Row("driver, memory", memory, "MB", "read", read_memory),
    ]
    for name, (spent, memory) in took.items():
        found += [
            Row(f"{name}, of {candidates:,} candidates", spent, "CPU s", "read", read),
            Row(f"{name}, memory", memory, "MB", "read", read_memory),
        ]
    return found


def peak() -> float:
    """The most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    run(rows, __doc__)
