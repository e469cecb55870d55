"""Jobs of a Slurm cluster, one a chain, through submitit."""

import math
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import read_json, write_json
from ablate.infra import Slurm
from ablate.steps import Step
from ablate.team import Team
from ablate.worker import Executors, Outcome, Place, follow, run_chain

ALIVE = {
    "CONFIGURING",
    "COMPLETING",
    "PENDING",
    "PREEMPTED",
    "REQUEUED",
    "RESIZING",
    "RUNNING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
}
"""Slurm's words for a job that has not ended, or will begin again."""
GRACE = 10.0
"""Seconds that jobs which have answered are given to leave the queue."""


class Chain:
    """What a Slurm job runs. A class, so that submitit finds `checkpoint` when the job must go."""

    def __init__(
        self, home: Path, steps: Sequence[Any], place: Place, executors: Executors, answer: Path
    ) -> None:
        self.home, self.steps, self.place = str(home), list(steps), place
        self.executors, self.answer = dict(executors), str(answer)

    def __call__(self) -> None:
        home, answer = Path(self.home), Path(self.answer)
        team = Team.of_job()
        team.meet(answer.with_suffix(".team"))
        if not team.leads:
            return follow(home, self.place, self.executors, team)
        steps = [Step.from_json(step) for step in self.steps]
        run_chain(home, steps, self.place, self.executors, team, answer)
        return team.close(in_order=True)

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class OnSlurm:
    """A Slurm job a chain. A job that is preempted or out of time is requeued by submitit."""

    pause = 0.5

    def __init__(
        self,
        home: Path,
        folder: Path,
        place: Place,
        slots: int,
        settings: Slurm,
        executors: Executors,
    ) -> None:
        self.home, self.folder, self.slots, self.executors = home, folder, slots, executors
        self.place = replace(place, whole_process=True)
        self.settings = settings
        self.jobs: list[SlurmJob] = []
        self._states: dict[str, str] = {}
        self._asked = 0.0

    def start(self, steps: Sequence[Step]) -> "SlurmJob":
        import submitit

        executor = submitit.AutoExecutor(
            folder=self.folder / "%j", cluster="slurm", slurm_max_num_timeout=100
        )
        infra = self.place.of(steps[0].kind)
        gpus = 0 if self.place.device == "cpu" else infra.devices
        executor.update_parameters(
            **parameters(self.settings, gpus), nodes=infra.nodes, tasks_per_node=infra.devices
        )
        answer = self.folder / f"{len(self.jobs)}.outcome.json"
        chain = [step.to_json() for step in steps]
        try:
            job = executor.submit(Chain(self.home, chain, self.place, self.executors, answer))
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"sbatch refused: {' '.join(str(error).split())}") from None
        self.jobs.append(SlurmJob(str(job.job_id), answer, self))
        write_json(self.folder / "jobs.json", [one.number for one in self.jobs])
        return self.jobs[-1]

    def close(self) -> None:
        """Cancel the jobs that have not ended, and let the others write their last lines."""
        scancel([job.number for job in self.jobs if not job.answer.exists()])
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            self._asked = -math.inf
            if not any(self.state(job.number) in ALIVE for job in self.jobs):
                return
            time.sleep(self.pause)

    def state(self, number: str) -> str:
        """Slurm's word on a job, at most ten seconds old; `""` if it has forgotten the job."""
        if number not in self._states or time.monotonic() - self._asked > 10:
            command = ["squeue", "--noheader", "--states=all", "--format=%i|%T"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:  # the controller is away: nothing is known, nothing is lost
                return "PENDING"
            self._states = dict(re.findall(r"^(\S+)\|(\S+)$", done.stdout, re.MULTILINE))
            self._asked = time.monotonic()
        return self._states.get(number, "")


@dataclass
class SlurmJob:
    """A chain on the cluster: over when its outcome is written, lost when Slurm says it ended."""

    number: str
    answer: Path
    backend: OnSlurm

    def poll(self) -> Outcome | None:
        state = self.backend.state(self.number)
        if self.answer.exists():
            return Outcome(**read_json(self.answer))
        lost = Outcome("lost", f"its Slurm job ended: {state or 'gone'}")
        return None if state in ALIVE else lost


def scancel(jobs: Sequence[str]) -> None:
    """End these jobs; those that have ended already do not mind."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=60, check=False)


def left_behind(folder: Path) -> list[str]:
    """The jobs of the driver whose folder this is, ended or not."""
    listed = folder / "jobs.json"
    return list(read_json(listed)) if listed.exists() else []


def parameters(settings: Slurm, gpus: int) -> dict[str, Any]:
    """What submitit is told. It takes preemption for a time-out where the limit is short.

    gpus: on each node, unless the settings say otherwise.
    """
    named = {"partition": settings.partition, "account": settings.account, "qos": settings.qos}
    return {
        "timeout_min": max(60, settings.timeout_min),
        "cpus_per_task": settings.cpus,
        "gpus_per_node": gpus if settings.gpus is None else settings.gpus,
        "slurm_signal_delay_s": 120,
        "slurm_srun_args": [f"--cpus-per-task={settings.cpus}"],
        "slurm_setup": [f"export OMP_NUM_THREADS={settings.cpus}"],
        "slurm_additional_parameters": {
            "requeue": True,
            "kill-on-invalid-dep": "yes",
            **{key: value for key, value in named.items() if value},
            **settings.extra,
        },
    }
