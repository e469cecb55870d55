"""What the driver costs: milliseconds a step of a study whose steps do nothing, beside the disk.

    python benchmarks/driver.py [--steps N] [--jobs N]

A step that does nothing still leaves an artifact: three files forced to the disk and one rename.
`disk` is that alone, in a loop; `inline` and `local` drive the study (one candidate of three steps
a seed), `local` counted from when its workers are up; `submitit` submits as many functions that do
nothing to its own local executor, as many at once as `local` has slots; `again` drives the study
that is done. All in one run, on one disk.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablate.files import write_json
from ablate.scheduler import Event, drive
from ablate.study import Study, load_study
from ablate.worker import StepContext

TASK = {"metric": "none", "value": 0.0, "n": 0}


def nothing(ctx: StepContext) -> dict[str, Any]:
    return {}


def score(ctx: StepContext) -> dict[str, Any]:
    (ctx.work / "answers.jsonl").touch()
    return {"scores": {"none": TASK}, "composite": 0.0}


EXECUTORS = {
    "pretrain": "driver:nothing",
    "finetune": "driver:nothing",
    "evaluate": "driver:score",
}


def study_of(steps: int) -> Study:
    """A study of about so many steps, three a seed."""
    explore = {"kind": "arms", "axis": "none", "arms": [{"name": "base"}]}
    seeds = list(range(max(1, steps // 3)))
    changes = [f"explore={json.dumps(explore)}", f"seeds={seeds}", "base.recipe.prealign=null"]
    return load_study("micro/rounds", changes)


def disk(steps: int, home: Path) -> float:
    """The least a durable step costs: its files and its rename."""
    began = time.perf_counter()
    for number in range(steps):
        work = home / f"{number}.work"
        for name in ("spec", "record", "manifest"):
            write_json(work / f"{name}.json", {"step": number})
        work.rename(home / str(number))
        handle = os.open(home, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return time.perf_counter() - began


def driven(study: Study, home: Path, backend: str, jobs: int) -> float:
    """Seconds from the first step's end to the last one's; of all where none was done."""
    ends: list[float] = []

    def see(event: Event) -> None:
        if event.what == "done":
            ends.append(time.perf_counter())

    began = time.perf_counter()
    drive(study, backend=backend, jobs=jobs, home=home, on_event=see, executors=EXECUTORS)
    return (
        (ends[-1] - ends[0]) * len(ends) / (len(ends) - 1) if ends else time.perf_counter() - began
    )


def submitit_alone(steps: int, home: Path, jobs: int) -> float:
    import submitit

    executor = submitit.LocalExecutor(folder=home)
    executor.update_parameters(timeout_min=60)
    running: list[Any] = []
    began, left = time.perf_counter(), steps
    while left or running:
        running = [job for job in running if not job.paths.result_pickle.exists()]
        while left and len(running) < jobs:
            running.append(executor.submit(max, 1, 2))
            left -= 1
        time.sleep(0.02)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--steps", type=int, default=300, help="steps that do nothing (default 300)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="slots of local (default 2)")
    given = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    study = study_of(given.steps)
    steps, few = 3 * len(study.seeds), 10
    ways: dict[str, tuple[int, Callable[[Path], float]]] = {
        "disk": (steps, lambda home: disk(steps, home / "disk")),
        "inline": (steps, lambda home: driven(study, home / "inline", "inline", 1)),
        "again": (steps, lambda home: driven(study, home / "inline", "inline", 1)),
        "local": (steps, lambda home: driven(study, home / "local", "local", given.jobs)),
        "submitit": (few, lambda home: submitit_alone(few, home / "submitit", given.jobs)),
    }
    home = Path(tempfile.mkdtemp(dir="."))
    try:
        print(f"{'way':10} {'steps':>6} {'ms a step':>10} {'beyond disk':>12}")
        floor = 0.0
        for name, (count, way) in ways.items():
            each = way(home) * 1000 / count
            floor = floor or each
            print(f"{name:10} {count:6} {each:10.2f} {each - floor:12.2f}", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"the driver's peak memory: {peak:.0f} MiB")
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
