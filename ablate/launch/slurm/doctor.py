"""`ablate doctor --backend slurm`: submits a probe, says in words what is wrong.

The probe asks for what a step of the user's default cluster asks for (`ablate.config.clusters`), so
what keeps it from running would keep a study from it. Where a study is named, there is a probe for
each request that its jobs would make.
"""

import getpass
import os
import re
import shlex
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.config import clusters
from ablate.config.provenance import Origins
from ablate.errors import UserError
from ablate.files import home, write_json
from ablate.humanize import duration
from ablate.launch import probe
from ablate.launch.finding import Finding
from ablate.launch.launcher import Probe as Asked
from ablate.launch.slurm.last_words import failed_set_up, log_tail
from ablate.launch.slurm.options import NAME
from ablate.launch.slurm.sbatch import (
    RefusedError,
    Request,
    request,
    requests,
    require_slurm,
    submit,
)
from ablate.launch.slurm.scontrol import configured, run_slurm_command, scancel, submitted
from ablate.launch.slurm.squeue import Queued, ask

START = 120.0
"""Seconds the probe is given to leave the queue."""
SURE = 10.0
"""The same where it waits for what will not come by itself."""
SOON = ("None", "Priority", "Resources", "BeginTime", "Prolog", "Cleaning")
"""Slurm's reasons for which a job waits that pass."""
RUN = 300.0
"""Seconds it is given to run: a first import of torch from a network file system is slow."""
SEEN = 60.0
"""Seconds within which a file that was written there must be seen here."""
FEW = 20
"""Jobs below which a limit on those that are submitted is worth a note."""
LOOK = 0.1
_NO_GPUS = "For steps on GPUs set infra.slurm.gpus, or leave infra.device and it to auto."
_MORE_GPUS = "Choose a partition with GPUs (`sinfo -o '%P %G'`), or ask for fewer."

REFUSALS = {
    r"account": "Set infra.slurm.account to one of yours: `sacctmgr show associations user=$USER`.",
    r"partition": "Set infra.slurm.partition to one of yours: {partitions}.",
    r"qos": "Set infra.slurm.qos to one that `sacctmgr show qos` lists, or to null.",
    r"time limit": "Set infra.slurm.timeout_min lower; `sinfo -o '%P %l'` shows the limits.",
    r"feature|constraint": "Set infra.slurm.constraint to one that `sinfo -o '%P %f'` lists.",
    r"gres|node configuration|memory|node count|cpu count": "No node has so much: set "
    "infra.slurm.gpus, cpus or mem, or infra.devices or nodes lower; `sinfo -o '%P %c %m %G'` "
    "shows what there is.",
    r"option|argument": "sbatch does not know what infra.slurm.extra asks for: see `man sbatch`.",
    r"contact|connect": "slurmctld does not answer: ask the cluster's operators.",
}
"""What to do where sbatch refuses, by what it says."""


class SlurmProbe:
    """What the job runs, in each of its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __call__(self) -> None:
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        probe.look_around(Path(self.folder), int(os.environ.get("SLURM_PROCID", "0")), host)


@dataclass
class Sample:
    """The probe while it is out: its folder, its number, what it asked for and in whose place."""

    folder: Path
    job: str
    asked: Request
    kinds: Sequence[str]

    @property
    def processes(self) -> int:
        """How many it has."""
        return int(self.asked.options["nodes"] * self.asked.options["ntasks-per-node"])

    def read(self, name: str) -> dict[str, Any] | None:
        """A file of its folder, or None while it is not seen here."""
        return probe.read(self.folder / name)

    def queued(self) -> Queued | None:
        """The job as Slurm sees it; None while Slurm does not say, or has forgotten it."""
        return (ask([self.job]) or {}).get(self.job)

    def printed(self) -> str | None:
        """What the job printed, or Slurm for it, errors last; None where nothing is seen of it."""
        logs = sorted(self.folder.glob("*_log.*"), reverse=True)
        text = "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)
        return text if logs else None


def examine(asked: Asked) -> Iterator[Finding]:
    """Every finding; the probes and their folders are gone after the last."""
    try:
        require_slurm()
    except UserError as error:
        yield Finding("sbatch", "problem", str(error), "Run it on a login node of the cluster.")
        return
    yield _limits()
    any_job: list[tuple[list[str], Request]] = [([], request(asked.infra, requeue=True))]
    for alike, wanted in requests(asked.infra, asked.kinds) or any_job:
        whose = f"{', '.join(alike)}: " if alike else ""
        for finding in _probed(wanted, alike, asked.note):
            placed = finding.remedy + _origin(finding, asked.origins, alike)
            yield replace(finding, check=whose + finding.check, remedy=placed)


def _limits() -> Finding:
    """How many jobs Slurm lets this user submit, and in an array."""
    limits = {**configured(), **submitted(getpass.getuser())}
    least = min((n for name, n in limits.items() if "SubmitJobs" in name), default=None)
    listed = ", ".join(f"{name} {n:,}" for name, n in limits.items()) or "Slurm does not tell any"
    if least is not None and least < FEW:
        remedy = (
            f"At most {least} jobs are taken at once: `--jobs {max(1, least - 1)}`, or as much as "
            "infra.slurm.at_once, leaves room for a driver; more wait until some have ended."
        )
        return Finding("limits", "note", listed, remedy)
    return Finding("limits", "ok", listed)


def _origin(finding: Finding, origins: Origins, kinds: Sequence[str]) -> str:
    """Where the fields that a finding names are set, or may be, as the end of its remedy."""
    fields = re.findall(r"infra\.slurm\.(\w+)", f"{finding.found} {finding.remedy}")
    if not fields or finding.status == "ok":
        return ""
    places = {name: origins.defined_at(NAME, name, next(iter(kinds), None)) for name in fields}
    origins_named = [
        f"infra.slurm.{name} comes from {origin}." for name, origin in places.items() if origin
    ]
    anywhere = f"A study may say so, or {clusters.profiles()} for all studies."
    return " " + " ".join(origins_named or [anywhere])


def _probed(asked: Request, kinds: Sequence[str], note: Callable[[str], None]) -> Iterator[Finding]:
    """What a probe in place of such jobs finds."""
    yield Finding("request", "ok", " ".join(asked.words))
    folder = home() / f"doctor-{uuid.uuid4().hex[:12]}"
    folder.mkdir(mode=0o700, parents=True)
    job = ""
    try:
        job = submit(asked, folder, "ablate-doctor", [SlurmProbe(folder)])
        note(f"job {job} is the probe; it has {START:.0f} s to leave the queue")
        yield from _examined(Sample(folder, job, asked, kinds))
    except RefusedError as error:
        yield _refused(str(error))
    finally:
        scancel([job] if job else [])
        shutil.rmtree(folder, ignore_errors=True)


def _examined(sample: Sample) -> Iterator[Finding]:
    """What can be said of a probe that was taken."""
    yield Finding("sbatch", "ok", f"took the probe as job {sample.job}")
    if "requeue" in sample.asked.options:
        yield _requeue(sample)
    if waits := _waiting(sample):
        yield waits
        return
    yield Finding("queue", "ok", "the probe left it")
    hello = _awaited(sample, "hello.json")
    if hello is None:
        yield _mute(sample)
        return
    heard = time.time()
    write_json(sample.folder / "answer.json", {"signal": True})
    run_slurm_command("scancel", "--signal=USR2", sample.job)
    reports = [_awaited(sample, f"report-{rank}.json") for rank in range(sample.processes)]
    first = reports[0]
    if first is None:
        yield _mute(sample)
        return
    yield from probe.folder_findings(first, hello["time"], heard)
    yield _signal(first)
    yield from _nodes(sample, reports)
    yield _accounting(sample)


def _refused(answer: str) -> Finding:
    words = next((words for word, words in REFUSALS.items() if re.search(word, answer, re.I)), "")
    partitions = ", ".join((run_slurm_command("sinfo", "--noheader", "--format=%R") or "").split())
    remedy = words.format(partitions=partitions or "see `sinfo`")
    return Finding("sbatch", "problem", answer, remedy or "Ask the cluster's operators.")


def _requeue(sample: Sample) -> Finding:
    """Whether Slurm would begin it again: the driver of `ablate run --detach` asks for that."""
    shown = run_slurm_command("scontrol", "show", "job", sample.job) or ""
    if "Requeue=1" in shown:
        return Finding("requeue", "ok", "allowed, for a driver that is a job of its own")
    remedy = "A driver that is a job (--detach) must be started again by hand if it is preempted."
    return Finding("requeue", "note", "not allowed here, or not told", remedy)


def _waiting(sample: Sample) -> Finding | None:
    """Why the probe does not leave the queue; None once it has."""
    began, job = time.monotonic(), None
    while (waited := time.monotonic() - began) < START:
        job = sample.queued() or job
        if sample.read("hello.json") or (job and not job.waits):
            return None
        if job and not job.reason.startswith(SOON) and waited > SURE:
            remedy = "Change the request, or ask the cluster's operators."
            return Finding("queue", "problem", f"the probe stays pending: {job.said()}", remedy)
        time.sleep(LOOK * 5)
    why = job.said() if job else "Slurm does not say why"
    remedy = "The cluster is busy: jobs will wait. Try again later, or ask for less."
    return Finding("queue", "note", f"still pending after {duration(START)}: {why}", remedy)


def _awaited(sample: Sample, name: str) -> dict[str, Any] | None:
    """A file that the probe writes; None if it ended and left none, or does not come to it."""
    began, ended = time.monotonic(), None
    while time.monotonic() - began < RUN:
        if report := sample.read(name):
            return report
        job = sample.queued()
        if job and not job.alive:
            ended = ended or time.monotonic()
            if time.monotonic() - ended > SEEN or failed_set_up(sample.printed() or ""):
                return None
        time.sleep(LOOK)
    return None


def _mute(sample: Sample) -> Finding:
    """Why a probe that began did not come to its end, by what it printed."""
    job, printed = sample.queued(), sample.printed()
    if printed is None and not sample.read("hello.json"):
        remedy = (
            "Set ABLATE_HOME to a folder that login nodes and compute nodes share, and that you "
            "may write to on both."
        )
        nothing = f"nothing that the job wrote is seen here, below {sample.folder.parent}"
        return Finding("shared folder", "problem", nothing, remedy)
    printed = printed or ""
    if line := failed_set_up(printed):
        remedy = "Mend that line of infra.slurm.setup: each has to end with exit status 0."
        return Finding("set-up", "problem", f"the job ended at {line}", remedy)
    last = log_tail(printed) or (f"state {job.state}" if job else "no word")
    python = shlex.join(sample.asked.python)
    if module := re.search(r"No module named '?([\w.]+)|ModuleNotFoundError", printed):
        remedy = (
            f"On the node {python} is another Python, or lacks {module[1] or 'a package'}: put the "
            "environment on a shared file system, or name another in infra.slurm.python."
        )
        return Finding("python there", "problem", last, remedy)
    if re.search(r"command not found|No such file|not found", printed):
        remedy = f"See that {python} is there on the node, or name another in infra.slurm.python."
        return Finding("python there", "problem", last, remedy)
    remedy = "Read what the job says; infra.slurm.setup runs before it."
    return Finding("job", "problem", f"it ended without a report: {last}", remedy)


def _signal(report: Mapping[str, Any]) -> Finding:
    if report["signal"]:
        return Finding("signal", "ok", "USR2 reaches the job, as it will before it is preempted")
    remedy = (
        "Steps go on from their last checkpoint, but do not hear that they must go. In a "
        "container, check that signals reach the process inside."
    )
    return Finding("signal", "note", "USR2 sent by scancel did not reach the job", remedy)


def _nodes(sample: Sample, reports: Sequence[Mapping[str, Any] | None]) -> Iterator[Finding]:
    """What its processes found where they ran."""
    there = [report for report in reports if report]
    hosts = sorted({report["host"] for report in there})
    ran = f"{len(there)} of {sample.processes} processes ran, on {', '.join(hosts)}"
    remedy = "Check that infra.slurm.srun and python start one process for each device."
    short = len(there) < sample.processes
    yield Finding("processes", "problem" if short else "ok", ran, remedy * short)
    for host in hosts:
        report = next(report for report in there if report["host"] == host)
        yield from probe.node_findings(report, "infra.slurm.setup")
        gpus = int(sample.asked.options.get("gpus-per-node", 0))
        if gpus or not sample.kinds:  # a study says by itself whether it wants any
            yield probe.gpu_finding(report, gpus, _NO_GPUS, _MORE_GPUS)


def _accounting(sample: Sample) -> Finding:
    if run_slurm_command("sacct", "--noheader", "--jobs", sample.job) is not None:
        return Finding("sacct", "ok", "answers; nothing depends on it")
    return Finding("sacct", "ok", "does not answer, which is fine: nothing depends on it")
