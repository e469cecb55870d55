"""`ablate doctor --backend ray`: submits a probe, says in words what is wrong."""

import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.files import home, write_json
from ablate.launch import probe
from ablate.launch.finding import Finding
from ablate.launch.launcher import Probe
from ablate.launch.log_tail import log_tail
from ablate.launch.ray import submission
from ablate.launch.ray.cluster import AwayError, Cluster, RefusedError
from ablate.launch.ray.options import options

START = 120.0
"""Seconds that the probe is given to find room."""
RUN = 300.0
"""Seconds it is given to run: a first import of torch from a network file system is slow."""
SEEN = 60.0
"""Seconds within which a file that was written there must be seen here."""
LOOK = 0.2
NO_GPUS = "For steps on GPUs set infra.ray.gpus, or leave infra.device and it to auto."
MORE_GPUS = "`ray status` shows what nodes have; ask for fewer, or start nodes with --num-gpus."


def examine(asked: Probe) -> Iterator[Finding]:
    """Every finding; the probes and their folders are gone after the last."""
    cluster = Cluster.at(options(asked.infra).address)
    try:
        yield Finding("cluster", "ok", f"Ray {cluster.require()} at {cluster.address}")
    except UserError as error:
        remedy = "Start it, or set infra.ray.address to that of its dashboard."
        yield Finding("cluster", "problem", str(error), remedy)
        return
    seen: list[dict[str, Any]] = []
    for kind in dict.fromkeys(asked.kinds or ["any step"]):
        infra = submission.of_kind(asked.infra, kind)
        if submission.asks(infra) not in seen:
            seen.append(submission.asks(infra))
            yield from _probed(cluster, infra, kind, asked)


def _probed(cluster: Cluster, infra: Infra, kind: str, asked: Probe) -> Iterator[Finding]:
    """What a probe in place of such a job finds."""
    wanted = submission.asks(infra)
    yield Finding(f"request of {kind}", "ok", str(wanted))
    folder = home() / f"doctor-{uuid.uuid4().hex[:12]}"
    number = f"ablate-{folder.name}"
    try:
        submission.prepare(folder, infra, LookAround(folder), folder / "printed.log")
        cluster.submit(number, wanted, submission.entrypoint(folder, number))
        asked.note(f"job {number} is the probe; it has {START:.0f} s to find room")
        yield from _examined(cluster, number, folder, infra)
    except (AwayError, RefusedError) as error:
        yield Finding("job", "problem", f"refused: {error}", "Read what Ray says of it.")
    finally:
        cluster.stop(number)
        shutil.rmtree(folder, ignore_errors=True)


class LookAround:
    """What the job runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __call__(self, rank: int) -> None:
        probe.look_around(Path(self.folder), rank, socket.gethostname())


def _examined(cluster: Cluster, number: str, folder: Path, infra: Infra) -> Iterator[Finding]:
    """What can be said of a probe that was taken."""
    hello = _awaited(cluster, number, folder / "hello.json")
    if hello is None:
        yield _mute(cluster, number, folder)
        return
    heard = time.time()
    write_json(folder / "answer.json", {})
    report = _awaited(cluster, number, folder / "report-0.json")
    if report is None:
        yield _mute(cluster, number, folder)
        return
    yield from probe.folder_findings(report, hello["time"], heard)
    yield from probe.node_findings(report, "the shell that runs `ray start`")
    if gpus := submission.gpus(infra):
        yield probe.gpu_finding(report, gpus, NO_GPUS, MORE_GPUS)


def _awaited(cluster: Cluster, number: str, path: Path) -> dict[str, Any] | None:
    """A file that the probe writes; None where it finds no room, or has ended and left none."""
    began, ended = time.monotonic(), None
    while (waited := time.monotonic() - began) < RUN:
        if answer := probe.read(path):
            return answer
        job = (cluster.jobs() or {}).get(number)
        if job and job.waits and waited > START:
            return None
        if job and not job.alive:
            ended = ended or time.monotonic()
            if time.monotonic() - ended > (SEEN if job.status == "SUCCEEDED" else 2.0):
                return None
        time.sleep(LOOK)
    return None


def _mute(cluster: Cluster, number: str, folder: Path) -> Finding:
    """Why a probe did not come to its end."""
    job = (cluster.jobs() or {}).get(number)
    if job and job.waits:
        remedy = "`ray status` shows what is free: ask for less, or add nodes."
        return Finding("queue", "problem", f"after {START:.0f} s {job.said()}", remedy)
    printed = folder / "printed.log"
    text = printed.read_text(encoding="utf-8", errors="replace") if printed.exists() else ""
    words = log_tail(text) or log_tail(job.message if job else "") or "no word"
    remedy = (
        "See that nodes find ABLATE_HOME and this Python at the same paths (infra.ray.python names "
        "another)."
    )
    return Finding("job", "problem", f"it ended without a report: {words}", remedy)
