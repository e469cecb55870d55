"""Executors that do to their own Slurm job what a cluster does to jobs, once for each seed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import core_fakes
import submitit

from ablate.commands import report as reporting
from ablate.commands.run import to_its_end
from ablate.config.study import load_study
from ablate.driver import detach, scheduler
from ablate.driver.invocation import Invocation
from ablate.errors import UserError
from ablate.worker.context import StepContext


def die(job: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_cancelled(job: str) -> None:
    subprocess.run(["scancel", job], check=True)


def be_told_to_go(job: str) -> None:
    subprocess.run(["scancel", "--signal=USR2", job], check=True)


def lose_the_node(job: str) -> None:
    node = f"NodeName={os.environ['SLURMD_NODENAME']}"
    subprocess.run(["scontrol", "update", node, "State=DOWN", "Reason=test"])


def be_preempted(job: str) -> None:
    """As on a cluster that sends SIGTERM alone: the notice is not heard."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    node = f"--nodelist={os.environ['SLURMD_NODENAME']}"
    wanted = ["--partition=main", "--exclusive", node, "--output=/dev/null", "--wrap=true"]
    subprocess.run(["sbatch", *wanted], check=True)


def starve(job: str) -> None:
    """As slurmstepd says it of a part of a job."""
    with Path(submitit.JobEnvironment().paths.stderr).open("a") as log:
        log.write("slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.\n")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(job: str) -> None:
    raise UserError("the loss is not a number")


FATES: list[Callable[[str], None]] = [
    *(lambda job: None, die, be_cancelled, be_told_to_go),
    *(starve, fail, be_preempted, lose_the_node),
]
"""What befalls the pre-training of each seed the first time; one after the other on nodes."""


def pretrain(ctx: StepContext) -> dict[str, Any]:
    seed = ctx.spec["seed"]
    mark = ctx.home / f"fate-{seed}"
    if not mark.exists():
        earlier = range(seed if FATES[seed] in (lose_the_node, be_preempted) else 0)
        while not all((ctx.home / f"fate-{one}").exists() for one in earlier):
            time.sleep(0.1)
        time.sleep(2 * bool(earlier))
        mark.touch()
        FATES[seed](submitit.JobEnvironment().job_id)
        if seed:
            time.sleep(60)
    return core_fakes.train(ctx)


EXECUTORS = {**core_fakes.EXECUTORS, "pretrain": "slurm_fakes:pretrain"}


class Driving(detach.Driving):
    """A driver's job whose steps are done by the fakes, and which builds no report of them."""

    def __call__(self) -> None:
        scheduler.drive = partial(scheduler.drive, executors=core_fakes.EXECUTORS)
        reporting.build = lambda result: "nowhere"
        super().__call__()


if __name__ == "__main__":
    HOME = Path(sys.argv[1])
    COMMAND = Invocation("micro/smoke", sys.argv[2:], backend="slurm", detached=True)
    STUDY = load_study(COMMAND.study, COMMAND.overrides).id
    Driving(to_its_end, COMMAND, STUDY, HOME, HOME / "drives" / HOME.name)()
