"""What the driver costs: a study whose steps do nothing, beside the disk and submitit alone.

    python benchmarks/driver.py [--steps N] [--jobs N] [--slurm N]

A step that does nothing still leaves an artifact: three files forced to the disk and one rename.
`disk` is that alone, in a loop; `inline` and `local` drive the study (one candidate of three steps
a seed), `local` counted from when its workers are up; `submitit` submits as many functions that do
nothing to its own local executor, as many at once as `local` has slots; `again` drives the study
that is done. With `--slurm N`, N steps go through the Slurm cluster that SLURM_CONF names, three a
job, beside `sbatch`: as many jobs that do nothing through submitit alone. Milliseconds by the
clock, as waiting is the point; all in one run, on one disk.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rows import Row, run

from ablate.catalog import suites
from ablate.config.infra import Infra
from ablate.config.study import Study, load_study
from ablate.driver.events import Event
from ablate.driver.scheduler import drive
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


def rows(steps: int = 300, jobs: int = 2, slurm: int = 0) -> list[Row]:
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    study = study_of(steps)
    every, few = 3 * len(study.seeds), 10
    home = Path(tempfile.mkdtemp(dir=".")).absolute()
    local, alone = home / "local", home / "submitit"
    ways: dict[str, tuple[int, Callable[[], float], str]] = {
        "disk": (every, lambda: disk(every, home / "disk"), "disk"),
        "inline": (every, lambda: driven(study, home / "inline", "inline", 1), "disk"),
        "again": (every, lambda: driven(study, home / "inline", "inline", 1), "disk"),
        "submitit": (few, lambda: submitit_alone(few, alone, jobs), "submitit"),
        "local": (every, lambda: driven(study, local, "local", jobs), "submitit"),
    }
    if slurm:
        some = study_of(slurm).model_copy(update={"infra": Infra.model_validate(ON_SLURM)})
        count = len(some.seeds)
        ways["sbatch"] = 3 * count, lambda: through_slurm(count, home / "sbatch"), "sbatch"
        ways["slurm"] = 3 * count, lambda: driven(some, home / "slurm", "slurm", 64), "sbatch"
    try:
        took = {name: way() * 1000 / count for name, (count, way, _) in ways.items()}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return [
        Row(f"a step, {name}", took[name], "ms", beside, took[beside])
        for name, (_, _, beside) in ways.items()
        if name != beside
    ]


if __name__ == "__main__":
    run(rows, __doc__)
