"""The probe of `ablate doctor` on a cluster: a job that sees what a step would see on a node.

It talks with the doctor through files in a folder that both share: `hello.json` and, once there is
the doctor's `answer.json`, a `report-N.json` of each of its processes. What those mean, for any
launcher, is here as well.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.files import home, read_json, write_json
from ablate.humanize import duration
from ablate.launch.finding import Finding, packages
from ablate.polling import wait_until
from ablate.store.record import git_commit, versions

ANSWER = 90.0
"""Seconds the job waits for the doctor's answer: longer than a network file system hides a file."""
SIGNAL = 15.0
"""Seconds it waits for the signal that the doctor sends through the queue."""
PAUSE = 0.05
SLOW = 5.0
"""Seconds there and back from which on a shared folder is worth a note."""
APART = 2.0
"""Seconds that clocks may be apart, beyond what cannot be told."""
TEMP = 2**30
"""Bytes free for temporary files that a step needs."""


def look_around(folder: Path, rank: int, host: str) -> None:
    """What each process of the job does; the first, of rank 0, speaks with the doctor.

    It waits for the signal USR2 that a doctor may have its queue send.
    """
    heard: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    report: dict[str, Any] = {"host": host}
    if rank == 0:
        write_json(folder / "hello.json", {"time": time.time(), **report})
        began = time.monotonic()
        answered = wait_until(ANSWER, lambda: read(folder / "answer.json") is not None, PAUSE)
        report["back"] = time.monotonic() - began if answered else None
        wanted = (read(folder / "answer.json") or {}).get("signal", False)
        report["signal"] = wanted and wait_until(SIGNAL, lambda: bool(heard), PAUSE)
    write_json(folder / f"report-{rank}.json", report | surroundings())


def read(path: Path) -> dict[str, Any] | None:
    """A file that the other side wrote, or None while it is not seen here."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def surroundings() -> dict[str, Any]:
    """Python, packages, code, GPUs and room, as this process has them."""
    temp = tempfile.gettempdir()
    return {
        "versions": versions(),
        "missing": missing(),
        "commit": git_commit(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "torch": _torch(),
        "temp": [temp, shutil.disk_usage(temp).free],
        "room": shutil.disk_usage(home() if home().exists() else Path.cwd()).free,
    }


def missing() -> list[str]:
    """The packages that `ablate` needs and does not have here, or not in the version it needs."""
    return [
        f"{finding.check} {finding.found}" for finding in packages() if finding.status == "problem"
    ]


def _torch() -> dict[str, Any]:
    """What torch is built for and how many GPUs it can use; why it does not import."""
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        return {"error": f"{type(error).__name__}: {error}"}
    return {"cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}


def folder_findings(report: Mapping[str, Any], told_at: float, heard: float) -> Iterator[Finding]:
    """Whether files are seen on both sides, how soon, and how far the clocks are apart."""
    back = report["back"]
    if back is None:
        remedy = "Mount the folder of ABLATE_HOME on the nodes with shorter caching (acregmax)."
        words = f"the node did not see in {ANSWER:.0f} s what was written here"
        yield Finding("shared folder", "problem", words, remedy)
        return
    words = f"seen on both sides; a file goes there and back in {back:.1f} s"
    remedy = "It works, but each decision waits for that; a quicker file system saves time."
    slow = back > SLOW
    yield Finding("shared folder", "note" if slow else "ok", words, remedy * slow)
    apart = told_at + back / 2 - heard  # a file takes as long there as back, or we cannot tell
    if abs(apart) > back / 2 + APART:
        ahead = "ahead of" if apart > 0 else "behind"
        words = f"{report['host']} is {duration(abs(apart))} {ahead} this machine"
        remedy = "No decision hangs on clocks, but times in records will be off: have NTP checked."
        yield Finding("clocks", "note", words, remedy)
    else:
        yield Finding("clocks", "ok", f"less than {back / 2 + APART:.1f} s apart")


def node_findings(report: Mapping[str, Any], setup: str) -> Iterator[Finding]:
    """Whether packages and code are as here, and there is room; `setup`: the field of the study
    whose lines a job begins with."""
    host, there, here = report["host"], report["versions"], versions()
    same = "Let login node and compute nodes use one environment, on a shared file system."
    apart = [
        f"{name} {there.get(name, 'missing')} (here {version})"
        for name, version in here.items()
        if there.get(name) != version
    ]
    wrong = [*report["missing"], *apart]
    words = "; ".join(wrong) or f"Python {there['python']} and packages as here"
    yield Finding(f"packages on {host}", "problem" if wrong else "ok", words, same * bool(wrong))
    if report["commit"] != git_commit():
        words = f"{report['commit'] or 'an installed package'}, here {git_commit()}"
        remedy = "The node imports other code: check PYTHONPATH and where ablate is installed."
        yield Finding(f"code on {host}", "problem", words, remedy)
    folder, free = report["temp"]
    if free < TEMP:
        remedy = f"Free it, or set TMPDIR to a larger disk in {setup}."
        yield Finding(f"temp on {host}", "problem", f"{free / 2**20:.0f} MiB free", remedy)
    else:
        yield Finding(f"temp on {host}", "ok", f"{free / 2**30:.1f} GiB free in {folder}")


def gpu_finding(report: Mapping[str, Any], asked: int, none: str, more: str) -> Finding:
    """Whether the GPUs that were asked for are there, and torch can use them; what to do where
    `none` was asked for, or there are to be `more`."""
    check, torch = f"GPUs on {report['host']}", report["torch"]
    if "error" in torch:
        remedy = "Install torch for the nodes (https://pytorch.org/get-started/locally)."
        return Finding(check, "problem", f"torch does not import: {torch['error']}", remedy)
    if not asked:
        return Finding(check, "note", "none was asked for", none)
    visible = [card for card in (report["visible"] or "").split(",") if card]
    seen = len(visible) if report["visible"] is not None else torch["gpus"]
    if seen < asked:
        return Finding(check, "problem", f"{seen} visible, {asked} asked for", more)
    if torch["cuda"] is None:
        remedy = "Install torch with CUDA (https://pytorch.org/get-started/locally)."
        return Finding(check, "problem", f"{seen} visible, but torch is built without CUDA", remedy)
    if torch["gpus"] < asked:
        words = f"torch for CUDA {torch['cuda']} can use {torch['gpus']} of {asked}"
        remedy = "Check `nvidia-smi` on the node, and that its driver is new enough for this torch."
        return Finding(check, "problem", words, remedy)
    return Finding(check, "ok", f"{torch['gpus']}, with CUDA {torch['cuda']}")
