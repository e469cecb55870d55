"""What the driver costs: milliseconds a step of a study whose steps do nothing, beside the disk.

    python benchmarks/driver.py [--steps N] [--jobs N] [--slurm N]

A step that does nothing still leaves an artifact: three files forced to the disk and one rename.
`disk` is that alone, in a loop; `inline` and `local` drive the study (one candidate of three steps
a seed), `local` counted from when its workers are up; `submitit` submits as many functions that do
nothing to its own local executor, as many at once as `local` has slots; `again` drives the study
that is done. With `--slurm N`, N steps go through the Slurm cluster that SLURM_CONF names, three a
job, and as many jobs that do nothing through submitit alone. Then the commands that read, in
seconds and seconds of CPU, at first and again: of the study itself, and of a small one in the same
store. All in one run, on one disk.

On two cores shared with seven others (load 10), 9,999 steps on a disk in memory: disk 1.6 ms a
step, inline 13.5, again 2.9, local 13.3, and 216 MiB at most. On a real disk, with one core busy,
status of all of them takes 1.3 s at first and 0.47 to 0.49 again (0.63 before it remembered what it
does now), and that of a study of 12 steps in the same store 0.26, which is Python's start and its
imports. Plan takes 0.64 s of CPU. Through Slurm on loopback, 201
steps in 67 jobs: 106 ms a step, where submitit alone takes 102 for as many jobs that do nothing.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablate.catalog import suites
from ablate.config.infra import Infra
from ablate.config.study import Study, load_study
from ablate.driver.scheduler import Event, drive
from ablate.files import write_atomic, write_json
from ablate.worker.context import StepContext

ON_SLURM = {"device": "cpu", "slurm": {"cpus": 1, "gpus": 0, "timeout_min": 60}}
ASKED = 4
"""Questions of each task, that there be answers to compare."""


def nothing(ctx: StepContext) -> dict[str, Any]:
    return {}


def score(ctx: StepContext) -> dict[str, Any]:
    """Answers as of an evaluation, all of them right."""
    tasks = [task.task for task in suites.from_identity(ctx.spec["suite"]).tasks]
    words = {"question": "?", "truth": "yes", "answer": "yes", "score": 1.0, "weight": 1.0}
    rows = [
        {"task": task, "id": str(number), "image": f"{number}.png", **words}
        for task in tasks
        for number in range(ASKED)
    ]
    write_atomic(ctx.work / "answers.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    scores = {task: {"metric": "none", "value": 100.0, "n": ASKED} for task in tasks}
    return {"scores": scores, "composite": 100.0}


EXECUTORS = {
    "pretrain": "driver:nothing",
    "finetune": "driver:nothing",
    "evaluate": "driver:score",
}


def changes(steps: int) -> list[str]:
    """What makes of micro/rounds a study of about so many steps, three a seed."""
    explore = {"kind": "arms", "axis": "none", "arms": [{"name": "base"}]}
    seeds = list(range(max(1, steps // 3)))
    return [f"explore={json.dumps(explore)}", f"seeds={seeds}", "base.recipe.prealign=null"]


def study_of(steps: int) -> Study:
    """That study."""
    return load_study("micro/rounds", changes(steps))


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


def through_slurm(jobs: int, home: Path) -> float:
    """Seconds for so many jobs that do nothing, submitted one by one by submitit alone."""
    import submitit

    executor = submitit.AutoExecutor(folder=home / "%j", cluster="slurm")
    executor.update_parameters(timeout_min=60, cpus_per_task=1)
    began = time.perf_counter()
    running = [executor.submit(max, 1, 2) for _ in range(jobs)]
    while not all(job.paths.result_pickle.exists() for job in running):
        time.sleep(0.1)
    return time.perf_counter() - began


def command(*words: str, home: Path) -> str:
    """Seconds of one command in a process of its own, and seconds of CPU."""
    began, spent = time.perf_counter(), children()
    environment = {**os.environ, "ABLATE_HOME": str(home)}
    line = [sys.executable, "-m", "ablate", *words]
    subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, check=True)
    return f"{time.perf_counter() - began:.2f} ({children() - spent:.2f})"


def children() -> float:
    """Seconds of CPU that processes of ours took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--steps", type=int, default=300, help="steps that do nothing (default 300)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="slots of local (default 2)")
    parser.add_argument("--slurm", type=int, default=0, help="steps to send through Slurm")
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
    if given.slurm:
        some = study_of(given.slurm).model_copy(update={"infra": Infra.model_validate(ON_SLURM)})
        jobs = len(some.seeds)
        ways["slurm"] = 3 * jobs, lambda home: driven(some, home / "slurm", "slurm", 64)
        ways["sbatch"] = 3 * jobs, lambda home: through_slurm(jobs, home / "sbatch")
    home = Path(tempfile.mkdtemp(dir=".")).absolute()
    try:
        print(f"{'way':10} {'steps':>6} {'ms a step':>10} {'beyond disk':>12}")
        floor = 0.0
        for name, (count, way) in ways.items():
            each = way(home) * 1000 / count
            floor = floor or each
            print(f"{name:10} {count:6} {each:10.2f} {each - floor:12.2f}", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"the driver's peak memory: {peak:.0f} MiB")
        same = [word for change in changes(given.steps) for word in ("--set", change)]
        for name in "status", "plan", "table":
            first, again = (
                command(name, "micro/rounds", *same, home=home / "inline") for _ in range(2)
            )
            other = command(name, "micro/smoke", home=home / "inline")
            print(f"{name:10} {first}, again {again}; of a study of 12 steps {other}", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
