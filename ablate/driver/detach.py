"""The driver as a small Slurm job of its own: what is at work goes on without the user's terminal.

It is the one job that Slurm may begin again: where the driver is preempted, its node fails or its
time runs out, it goes back to the queue, leaves its jobs at work, and takes them over when it
begins anew.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablate.config.study import Study
from ablate.driver.invocation import Invocation, LastRun
from ablate.driver.sessions import SessionOwnership, TakenOverError
from ablate.errors import UserError
from ablate.files import write_json
from ablate.home import Home
from ablate.launch.drives import drives, log_of
from ablate.launch.slurm.sbatch import RefusedError, driver_request, require_slurm, submit
from ablate.launch.slurm.squeue import ask
from ablate.redaction import redact
from ablate.store.lease import Watch

Run = Callable[[Invocation, Path, str], int]
"""Drives a command's study, of that id, from a folder to its end; gives the exit code."""


class Driving:
    """What the job that drives the study of an id runs: it ends as `ablate run` would.

    A class, so that submitit finds `checkpoint` when it must go.
    """

    def __init__(self, run: Run, command: Invocation, study: str, home: Path, folder: Path) -> None:
        self.run, self.command, self.study = run, command, study
        self.home, self.folder = str(home), str(folder)

    def __call__(self) -> None:
        os.environ["ABLATE_HOME"] = self.home
        os.dup2(1, 2)  # what goes on and what came of it, in one log
        try:
            code = self.run(self.command, Path(self.folder), self.study)
        except TakenOverError as error:
            raise SystemExit(f"ablate: {error}") from None
        except UserError as error:
            self._died(str(error))
            raise SystemExit(f"ablate: {error}") from None
        except Exception as error:  # whatever it is, its user is not there to see it
            self._died(f"internal error: {type(error).__name__}: {error}")
            raise
        if code:
            raise SystemExit(code)

    def _died(self, said: str) -> None:
        """Leave word for `ablate status`, as nobody sees this job's last line."""
        log = log_of(Path(self.folder), self.study, os.environ.get("SLURM_JOB_ID", ""))
        driven = LastRun.by(self.command, redact(" ".join(said.split())), str(log))
        with contextlib.suppress(OSError, UserError):  # its log still says it
            driven.write(Path(self.home), self.study)

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def detach(run: Run, command: Invocation, study: Study, home: Path) -> tuple[str, Path]:
    """Submit `run` as a job that drives the study; its number, and where it prints.

    Raises UserError where the study has a driver, Slurm is not here, or sbatch refuses.
    """
    require_slurm()
    watch = Watch()
    _alone(command, study, home, watch)
    token = uuid.uuid4().hex[:12]
    folder = Home(home).drives / token
    logs = log_of(folder, study.id, "").parent
    logs.mkdir(mode=0o700, parents=True)
    tenure = SessionOwnership(home, study.id, watch)
    tenure.acquire(folder)  # until the job's number is there to be found
    try:
        call = Driving(run, command, study.id, home, folder)
        job = submit(driver_request(study.infra), logs, f"ablate-{token}-driver", [call])
        write_json(folder / "driver-job.json", job)
    except RefusedError as error:
        tenure.remove()
        shutil.rmtree(logs)
        raise UserError(f"sbatch refused: {error}") from None
    finally:
        tenure.close()
    return job, log_of(folder, study.id, job)


def _alone(command: Invocation, study: Study, home: Path, watch: Watch) -> None:
    """UserError if the study has a driver that lives, or waits in the queue."""
    for drive in drives(home, study.id):
        own = drive.own_job
        if holding := watch.held(drive.leases):
            owner = holding.owner or drive.driver  # may be another, which took it over
            who = f"job {owner.job}" if owner.job else f"process {owner.pid} on {owner.host}"
        elif own and _waits(own):
            who = f"job {own}, which waits in the queue"
        else:
            continue
        raise UserError(
            f"{study.name} has a driver: {who}; `{command.as_shell('status')}` shows how far it "
            f"is, `{command.as_shell('cancel')}` ends it"
        )


def _waits(job: str) -> bool:
    """Whether the job has not ended, or Slurm does not say."""
    known = ask([job])
    return known is None or any(one.alive for one in known.values())
