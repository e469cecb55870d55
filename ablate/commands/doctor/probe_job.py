"""The probe of `ablate doctor --backend slurm`: a job that sees what a step would see on a node.

It talks with the doctor through files in a folder that both share: `hello.json` and, once there is
the doctor's `answer.json`, a `report-N.json` of each of its processes.
"""

import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from ablate.files import home, write_json
from ablate.polling import wait_until
from ablate.store.record import git_commit, versions

ANSWER = 90.0
"""Seconds the job waits for the doctor's answer: longer than a network file system hides a file."""
SIGNAL = 15.0
"""Seconds it waits for the signal that the doctor sends through Slurm."""
PAUSE = 0.05


class Probe:
    """What the job runs, in each of its processes; the first speaks with the doctor."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __call__(self) -> None:
        folder, rank = Path(self.folder), int(os.environ.get("SLURM_PROCID", "0"))
        heard: list[int] = []
        signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        found: dict[str, Any] = {"host": host}
        if rank == 0:
            write_json(folder / "hello.json", {"time": time.time(), **found})
            began = time.monotonic()
            answered = wait_until(ANSWER, (folder / "answer.json").exists, PAUSE)
            found["back"] = time.monotonic() - began if answered else None
            found["signal"] = answered and wait_until(SIGNAL, lambda: bool(heard), PAUSE)
        write_json(folder / f"report-{rank}.json", found | surroundings())


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
    from ablate.commands.doctor.finding import packages

    return [f"{one.check} {one.found}" for one in packages() if one.status == "problem"]


def _torch() -> dict[str, Any]:
    """What torch is built for and how many GPUs it can use; why it does not import."""
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        return {"error": f"{type(error).__name__}: {error}"}
    return {"cuda": torch.version.cuda, "gpus": torch.cuda.device_count()}
