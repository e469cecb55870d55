"""`ablate doctor --backend slurm`: submits a probe (`probe_job`), says in words what is wrong.

The probe asks for what a step of the user's default cluster asks for (`ablate.config.clusters`), so
what keeps it from running would keep a study from it. Where a study is named, there is a probe for
each request that its jobs would make.
"""

import getpass
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.commands.doctor import probe_job as probe
from ablate.commands.doctor.finding import Finding
from ablate.commands.output import note
from ablate.commands.study_status import survey
from ablate.config import clusters
from ablate.config.infra import DRIVER, Infra
from ablate.config.provenance import Origins
from ablate.errors import UserError
from ablate.files import home, read_json, write_json
from ablate.humanize import duration
from ablate.launch.log_tail import failed_set_up, log_tail
from ablate.launch.slurm.jobs import scancel
from ablate.launch.slurm.sbatch import (
    RefusedError,
    Request,
    request,
    requests,
    require_slurm,
    submit,
)
from ablate.launch.slurm.scontrol import configured, run_slurm_command, submitted
from ablate.launch.slurm.squeue import Queued, ask
from ablate.store.record import git_commit, versions

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
SLOW = 5.0
"""Seconds there and back from which on a shared folder is worth a note."""
APART = 2.0
"""Seconds that clocks may be apart, beyond what cannot be told."""
TEMP = 2**30
"""Bytes free for temporary files that a step needs."""
FEW = 20
"""Jobs below which a limit on those that are submitted is worth a note."""
LOOK = 0.1

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
        try:
            value = read_json(self.folder / name)
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def queued(self) -> Queued | None:
        """The job as Slurm sees it; None while Slurm does not say, or has forgotten it."""
        return (ask([self.job]) or {}).get(self.job)

    def printed(self) -> str | None:
        """What the job printed, or Slurm for it, errors last; None where nothing is seen of it."""
        logs = sorted(self.folder.glob("*_log.*"), reverse=True)
        said = "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)
        return said if logs else None


def examine(study: str | None = None, overrides: Sequence[str] = ()) -> Iterator[Finding]:
    """Every finding; the probes and their folders are gone after the last."""
    try:
        require_slurm()
    except UserError as error:
        yield Finding("sbatch", "problem", str(error), "Run it on a login node of the cluster.")
        return
    yield _limits()
    own, kinds = Infra(), []
    if study:
        found = survey(study, overrides)
        own, kinds = found.study.infra, [*(step.kind for step in found.steps), DRIVER]
    infra, origins = clusters.over(own), Origins.of(study, overrides, own)
    for alike, asked in requests(infra, kinds) or [([], request(infra, requeue=True))]:
        whose = f"{', '.join(alike)}: " if alike else ""
        for finding in _probed(asked, alike):
            placed = finding.remedy + _origin(finding, origins, alike)
            yield replace(finding, check=whose + finding.check, remedy=placed)


def _limits() -> Finding:
    """How many jobs Slurm lets this user submit, and in an array."""
    limits = {**configured(), **submitted(getpass.getuser())}
    least = min((n for name, n in limits.items() if "SubmitJobs" in name), default=None)
    said = ", ".join(f"{name} {n:,}" for name, n in limits.items()) or "Slurm does not tell any"
    if least is not None and least < FEW:
        remedy = (
            f"At most {least} jobs are taken at once: `--jobs {max(1, least - 1)}`, or as much as "
            "infra.slurm.at_once, leaves room for a driver; more wait until some have ended."
        )
        return Finding("limits", "note", said, remedy)
    return Finding("limits", "ok", said)


def _origin(finding: Finding, origins: Origins, kinds: Sequence[str]) -> str:
    """Where the fields that a finding names are set, or may be, as the end of its remedy."""
    fields = re.findall(r"infra\.slurm\.(\w+)", f"{finding.found} {finding.remedy}")
    if not fields or finding.status == "ok":
        return ""
    places = {name: origins.place(name, next(iter(kinds), None)) for name in fields}
    said = [f"infra.slurm.{name} comes from {place}." for name, place in places.items() if place]
    anywhere = f"A study may say so, or {clusters.profiles()} for all studies."
    return " " + " ".join(said or [anywhere])


def _probed(asked: Request, kinds: Sequence[str]) -> Iterator[Finding]:
    """What a probe in place of such jobs finds."""
    yield Finding("request", "ok", " ".join(asked.words))
    folder = home() / f"doctor-{uuid.uuid4().hex[:12]}"
    folder.mkdir(mode=0o700, parents=True)
    job = ""
    try:
        job = submit(asked, folder, "ablate-doctor", [probe.Probe(folder)])
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
    write_json(sample.folder / "answer.json", {})
    run_slurm_command("scancel", "--signal=USR2", sample.job)
    reports = [_awaited(sample, f"report-{rank}.json") for rank in range(sample.processes)]
    first = reports[0]
    if first is None:
        yield _mute(sample)
        return
    yield from _folder(first, hello["time"], heard)
    yield _signal(first)
    yield from _nodes(sample, reports)
    yield _accounting(sample)


def _refused(said: str) -> Finding:
    words = next((words for word, words in REFUSALS.items() if re.search(word, said, re.I)), "")
    partitions = ", ".join((run_slurm_command("sinfo", "--noheader", "--format=%R") or "").split())
    remedy = words.format(partitions=partitions or "see `sinfo`")
    return Finding("sbatch", "problem", said, remedy or "Ask the cluster's operators.")


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
        if found := sample.read(name):
            return found
        job = sample.queued()
        if job and not job.alive:
            ended = ended or time.monotonic()
            if time.monotonic() - ended > SEEN or failed_set_up(sample.printed() or ""):
                return None
        time.sleep(LOOK)
    return None


def _mute(sample: Sample) -> Finding:
    """Why a probe that began did not come to its end, by what it printed."""
    job, said = sample.queued(), sample.printed()
    if said is None and not sample.read("hello.json"):
        remedy = (
            "Set ABLATE_HOME to a folder that login nodes and compute nodes share, and that you "
            "may write to on both."
        )
        found = f"nothing that the job wrote is seen here, below {sample.folder.parent}"
        return Finding("shared folder", "problem", found, remedy)
    said = said or ""
    if line := failed_set_up(said):
        remedy = "Mend that line of infra.slurm.setup: each has to end with exit status 0."
        return Finding("set-up", "problem", f"the job ended at {line}", remedy)
    last = log_tail(said) or (f"state {job.state}" if job else "no word")
    python = shlex.join(sample.asked.python)
    if module := re.search(r"No module named '?([\w.]+)|ModuleNotFoundError", said):
        remedy = (
            f"On the node {python} is another Python, or lacks {module[1] or 'a package'}: put the "
            "environment on a shared file system, or name another in infra.slurm.python."
        )
        return Finding("python there", "problem", last, remedy)
    if re.search(r"command not found|No such file|not found", said):
        remedy = f"See that {python} is there on the node, or name another in infra.slurm.python."
        return Finding("python there", "problem", last, remedy)
    remedy = "Read what the job says; infra.slurm.setup runs before it."
    return Finding("job", "problem", f"it ended without a report: {last}", remedy)


def _folder(report: Mapping[str, Any], told_at: float, heard: float) -> Iterator[Finding]:
    """Whether files are seen on both sides, how soon, and how far the clocks are apart."""
    back = report["back"]
    if back is None:
        remedy = "Mount the folder of ABLATE_HOME on the nodes with shorter caching (acregmax)."
        said = f"the node did not see in {probe.ANSWER:.0f} s what was written here"
        yield Finding("shared folder", "problem", said, remedy)
        return
    said = f"seen on both sides; a file goes there and back in {back:.1f} s"
    remedy = "It works, but each decision waits for that; a quicker file system saves time."
    slow = back > SLOW
    yield Finding("shared folder", "note" if slow else "ok", said, remedy * slow)
    apart = told_at + back / 2 - heard  # a file takes as long there as back, or we cannot tell
    if abs(apart) > back / 2 + APART:
        ahead = "ahead of" if apart > 0 else "behind"
        said = f"{report['host']} is {duration(abs(apart))} {ahead} this machine"
        remedy = "No decision hangs on clocks, but times in records will be off: have NTP checked."
        yield Finding("clocks", "note", said, remedy)
    else:
        yield Finding("clocks", "ok", f"less than {back / 2 + APART:.1f} s apart")


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
    found = [report for report in reports if report]
    hosts = sorted({report["host"] for report in found})
    said = f"{len(found)} of {sample.processes} processes ran, on {', '.join(hosts)}"
    remedy = "Check that infra.slurm.srun and python start one process for each device."
    short = len(found) < sample.processes
    yield Finding("processes", "problem" if short else "ok", said, remedy * short)
    for host in hosts:
        report = next(one for one in found if one["host"] == host)
        yield from _node(report)
        gpus = int(sample.asked.options.get("gpus-per-node", 0))
        if gpus or not sample.kinds:  # a study says by itself whether it wants any
            yield _gpus(report, gpus)


def _node(report: Mapping[str, Any]) -> Iterator[Finding]:
    host, there, here = report["host"], report["versions"], versions()
    same = "Let login node and compute nodes use one environment, on a shared file system."
    apart = [
        f"{name} {there.get(name, 'missing')} (here {version})"
        for name, version in here.items()
        if there.get(name) != version
    ]
    wrong = [*report["missing"], *apart]
    said = "; ".join(wrong) or f"Python {there['python']} and packages as here"
    yield Finding(f"packages on {host}", "problem" if wrong else "ok", said, same * bool(wrong))
    if report["commit"] != git_commit():
        said = f"{report['commit'] or 'an installed package'}, here {git_commit()}"
        remedy = "The node imports other code: check PYTHONPATH and where ablate is installed."
        yield Finding(f"code on {host}", "problem", said, remedy)
    place, free = report["temp"]
    if free < TEMP:
        remedy = "Free it, or set TMPDIR to a larger disk in infra.slurm.setup."
        yield Finding(f"temp on {host}", "problem", f"{free / 2**20:.0f} MiB free", remedy)
    else:
        yield Finding(f"temp on {host}", "ok", f"{free / 2**30:.1f} GiB free in {place}")


def _gpus(report: Mapping[str, Any], asked: int) -> Finding:
    """Whether the GPUs that were asked for are there, and torch can use them."""
    check, torch = f"GPUs on {report['host']}", report["torch"]
    if "error" in torch:
        remedy = "Install torch for the nodes (https://pytorch.org/get-started/locally)."
        return Finding(check, "problem", f"torch does not import: {torch['error']}", remedy)
    if not asked:
        remedy = "For steps on GPUs set infra.slurm.gpus, or leave infra.device and it to auto."
        return Finding(check, "note", "none was asked for", remedy)
    visible = [card for card in (report["visible"] or "").split(",") if card]
    seen = len(visible) if report["visible"] is not None else torch["gpus"]
    if seen < asked:
        remedy = "Choose a partition with GPUs (`sinfo -o '%P %G'`), or ask for fewer."
        return Finding(check, "problem", f"{seen} visible, {asked} asked for", remedy)
    if torch["cuda"] is None:
        remedy = "Install torch with CUDA (https://pytorch.org/get-started/locally)."
        return Finding(check, "problem", f"{seen} visible, but torch is built without CUDA", remedy)
    if torch["gpus"] < asked:
        said = f"torch for CUDA {torch['cuda']} can use {torch['gpus']} of {asked}"
        remedy = "Check `nvidia-smi` on the node, and that its driver is new enough for this torch."
        return Finding(check, "problem", said, remedy)
    return Finding(check, "ok", f"{torch['gpus']}, with CUDA {torch['cuda']}")


def _accounting(sample: Sample) -> Finding:
    if run_slurm_command("sacct", "--noheader", "--jobs", sample.job) is not None:
        return Finding("sacct", "ok", "answers; nothing depends on it")
    return Finding("sacct", "ok", "does not answer, which is fine: nothing depends on it")
