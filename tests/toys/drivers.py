"""Drivers of a study of fakes as processes of their own, started, killed and waited for."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import core_fakes

from ablate.store.process import Process

DRIVE = Path(core_fakes.__file__).with_name("drive_fakes.py")


def start(home: Path, backend: str = "local", jobs: int = 2) -> "subprocess.Popen[str]":
    """A driver in its own process group, as a shell starts one; it prints into files."""
    home.mkdir(exist_ok=True)
    name = home / f"driver-{time.monotonic_ns()}"
    with name.with_suffix(".out").open("w") as out, name.with_suffix(".err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, str(DRIVE), str(home), backend, str(jobs)],
            stdout=out,
            stderr=err,
            text=True,
            process_group=0,
        )
    process.name = name  # type: ignore[attr-defined]
    return process


def said(process: "subprocess.Popen[str]", suffix: str) -> str:
    """What the driver printed: `.out` or `.err`."""
    path: Path = process.name  # type: ignore[attr-defined]
    return path.with_suffix(suffix).read_text()


def kill(process: "subprocess.Popen[str]") -> None:
    """End it at once."""
    process.kill()
    process.wait()


def finish(process: "subprocess.Popen[str]") -> Any:
    """What the driver printed, once it has ended well."""
    assert process.wait(timeout=240) == 0, said(process, ".err")
    return json.loads(said(process, ".out"))


def workers(home: Path) -> list[Process]:
    """The workers that are alive."""
    found = [json.loads(path.read_text()) for path in home.glob("drives/*/slot-*/worker.json")]
    return [process for fields in found if (process := Process(**fields)).runs()]


def until(condition: Any, seconds: float = 240.0) -> None:
    """Wait for what happens within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
