"""The driver as a small job of its own: what is at work goes on without the user's terminal."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from ablate.config.study import Study
from ablate.driver.invocation import Invocation, LastRun
from ablate.driver.sessions import SessionOwnership, TakenOverError
from ablate.errors import UserError
from ablate.files import write_json
from ablate.home import Home
from ablate.launch.drives import DriverSession, drives, logs_of
from ablate.launch.registry import launcher
from ablate.redaction import redact
from ablate.store.lease import Watch
from ablate.store.process import JOB

Run = Callable[[Invocation, Path, str], int]
"""Drives a command's study, of that id, from a folder to its end; gives the exit code."""


class Driving:
    """What the job that drives the study of an id runs: it ends as `ablate run` would."""

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

    def _died(self, message: str) -> None:
        """Leave word for `ablate status`, as nobody sees this job's last line."""
        logs, job = logs_of(Path(self.folder), self.study), os.environ.get(JOB, "")
        log = launcher(self.command.backend).driver_log(logs, job)
        driven = LastRun.by(self.command, redact(" ".join(message.split())), str(log))
        with contextlib.suppress(OSError, UserError):  # its log still says it
            driven.write(Path(self.home), self.study)


def detach(run: Run, command: Invocation, study: Study, home: Path) -> tuple[str, Path]:
    """Submit `run` as a job that drives the study; its number, and where it prints.

    Raises UserError where the study has a driver, the backend's needs are not here, or it refuses.
    """
    backend = launcher(command.backend)
    backend.require()
    watch = Watch()
    _alone(command, study, home, watch)
    token = uuid.uuid4().hex[:12]
    folder = Home(home).drives / token
    logs = logs_of(folder, study.id)
    logs.mkdir(mode=0o700, parents=True)
    tenure = SessionOwnership(home, study.id, watch, command.backend)
    tenure.acquire(folder)  # until the job's number is there to be found
    try:
        call = Driving(run, command, study.id, home, folder)
        job = backend.submit_driver(study.infra, folder, logs, call)
        write_json(folder / "driver-job.json", job)
    except UserError:
        tenure.remove()
        shutil.rmtree(logs)
        raise
    finally:
        tenure.close()
    return job, backend.driver_log(logs, job)


def _alone(command: Invocation, study: Study, home: Path, watch: Watch) -> None:
    """UserError if the study has a driver that lives, or waits in the queue."""
    for drive in drives(home, study.id):
        own_job = drive.own_job
        if holding := watch.held(drive.leases):
            owner = holding.owner or drive.driver  # may be another, which took it over
            who = f"job {owner.job}" if owner.job else f"process {owner.pid} on {owner.host}"
        elif own_job and _waits(drive, own_job):
            who = f"job {own_job}, which waits in the queue"
        else:
            continue
        raise UserError(
            f"{study.name} has a driver: {who}; `{command.as_shell('status')}` shows how far it "
            f"is, `{command.as_shell('cancel')}` ends it"
        )


def _waits(drive: DriverSession, job: str) -> bool:
    """Whether the drive's own job has not ended, or its queue does not say."""
    known = drive.submissions.ask([job])
    return known is None or any(queued.alive for queued in known.values())
