"""The driver as a small Slurm job of its own: what is at work goes on without the user's terminal.

It is the one job that Slurm may begin again: where the driver is preempted, its node fails or its
time runs out, it goes back to the queue, leaves its jobs at work, and takes them over when it
begins anew.
"""

import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.drives import Tenure, drives
from ablate.errors import UserError
from ablate.files import write_json
from ablate.lease import Watch
from ablate.sbatch import RefusedError, driver_request, require_slurm, submit
from ablate.squeue import ask
from ablate.study import Study


@dataclass(frozen=True)
class Command:
    """`ablate run STUDY --backend slurm`, as it was typed."""

    study: str
    overrides: Sequence[str]
    last: int | None
    jobs: int | None


class Driving:
    """What the driver's job runs. A class, so that submitit finds `checkpoint` when it must go."""

    def __init__(self, command: Command, home: Path, folder: Path) -> None:
        self.command, self.home, self.folder = command, str(home), str(folder)

    def __call__(self) -> None:
        from ablate.commands import running

        os.environ["ABLATE_HOME"] = self.home
        os.dup2(1, 2)  # what goes on and what came of it, in one log
        try:
            running.to_its_end(self.command, "slurm", Path(self.folder))
        except UserError as error:
            raise SystemExit(f"ablate: {error}") from None

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def detach(command: Command, study: Study, home: Path) -> tuple[str, Path]:
    """Submit the driver of the study as a job; its number, and where it prints.

    Raises UserError where the study has a driver, Slurm is not here, or sbatch refuses.
    """
    require_slurm()
    watch = Watch()
    _alone(study, home, watch)
    token = uuid.uuid4().hex[:12]
    folder = home / "drives" / token
    logs = home / "studies" / study.name / "drivers" / token
    logs.mkdir(mode=0o700, parents=True)
    tenure = Tenure(home, study.name, watch)
    tenure.hold(folder)  # until the job's number is there to be found
    try:
        call = Driving(command, home, folder)
        job = submit(driver_request(study.infra), logs, f"ablate-{token}-driver", [call])
        write_json(folder / "driver-job.json", job)
    except RefusedError as error:
        tenure.remove()
        shutil.rmtree(logs)
        raise UserError(f"sbatch refused: {error}") from None
    finally:
        tenure.close()
    return job, logs / f"{job}_0_log.out"


def _alone(study: Study, home: Path, watch: Watch) -> None:
    """UserError if the study has a driver that lives, or waits in the queue."""
    for drive in drives(home, study.name):
        own = drive.own_job
        if watch.held(drive.leases):
            who = f"job {own}" if own else f"process {drive.driver.pid} on {drive.driver.host}"
        elif own and _waits(own):
            who = f"job {own}, which waits in the queue"
        else:
            continue
        raise UserError(
            f"{study.name} has a driver: {who}; `ablate status {study.name}` shows how far it is, "
            f"`ablate cancel {study.name}` ends it"
        )


def _waits(job: str) -> bool:
    """Whether the job has not ended, or Slurm does not say."""
    known = ask([job])
    return known is None or any(one.alive for one in known.values())
