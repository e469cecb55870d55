"""The launcher `slurm`. What it does is in the files beside this one, imported when it is used."""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.launch.finding import Finding
from ablate.launch.launcher import Launcher, Probe
from ablate.launch.protocol import Backend, Drive, QueuedJob, Submissions
from ablate.launch.slurm.options import MORE_MEMORY, options
from ablate.launch.slurm.options import Slurm as Options


class Slurm(Launcher):
    """Chains as jobs of a Slurm cluster, those that are ready together as one array."""

    remote = True
    Options = Options
    more_memory = MORE_MEMORY

    def open(self, drive: Drive, jobs: int | None) -> Backend:
        from ablate.launch.slurm.jobs import OnSlurm

        self.require()
        return OnSlurm(drive, jobs or options(drive.infra).at_once)

    def require(self) -> None:
        from ablate.launch.slurm.sbatch import require_slurm

        require_slurm()

    def submissions(self, drive: Path) -> Submissions:
        return Arrays(drive)

    def requests(self, infra: Infra, kinds: Iterable[str], jobs: int | None) -> str:
        from ablate.launch.slurm.sbatch import shown

        return shown(infra, kinds, jobs or options(infra).at_once)

    def submit_driver(self, infra: Infra, drive: Path, logs: Path, call: Callable[[], Any]) -> str:
        from ablate.launch.slurm.driver_job import DriverJob
        from ablate.launch.slurm.sbatch import RefusedError, request_of, submit

        try:
            name = f"ablate-{drive.name}-driver"
            return submit(request_of(infra, "driver"), logs, name, [DriverJob(call)])
        except RefusedError as error:
            raise UserError(f"sbatch refused: {error}") from None

    def driver_log(self, logs: Path, job: str) -> Path:
        return logs / f"{job}_0_log.out"

    def examine(self) -> Iterator[Finding]:
        if not shutil.which("sinfo"):
            remedy = "Only `--backend slurm` needs it: run on a login node of the cluster."
            yield Finding("slurm", "note", "no sinfo on the PATH", remedy)
            return
        command = ["sinfo", "--noheader", "--format=%P %a %D"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            asked = "Ask the cluster's operators."
            yield Finding("slurm", "note", "sinfo does not answer", asked)
            return
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            remedy = "Check that slurmctld runs and the PATH is right."
            yield Finding("slurm", "note", reason, remedy)
            return
        yield Finding("slurm", "ok", "; ".join(done.stdout.split("\n")[:4]).strip("; "))

    def probe(self, asked: Probe) -> Iterator[Finding]:
        from ablate.launch.slurm.doctor import examine

        yield from examine(asked)


class Arrays(Submissions):
    """The Slurm jobs of a drive, each task of an array by itself."""

    def __init__(self, drive: Path) -> None:
        self.drive = drive

    def submitted(self) -> Mapping[str, Sequence[str]]:
        from ablate.launch.slurm.arrays import submitted

        return submitted(self.drive)

    def ask(self, jobs: Sequence[str], patience: float = 10.0) -> Mapping[str, QueuedJob] | None:
        from ablate.launch.slurm.squeue import ask

        return ask(jobs, patience)

    def cancel(self, jobs: Sequence[str]) -> None:
        from ablate.launch.slurm.scontrol import scancel

        scancel(jobs)

    def logs(self, key: str) -> list[Path]:
        from ablate.launch.slurm.arrays import printed

        return printed(self.drive, key)

    def hurry(self, job: str) -> str:
        return f"`scancel --signal=KILL --full {job}` hurries it"
