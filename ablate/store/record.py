"""What a step's record says besides its result: where it ran, with what, and what it took."""

import os
import re
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ablate.config.distribution import installed_version
from ablate.store.steps import Step

SCHEMA = 1
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "lightning",
    "lmms-eval",
    "safetensors",
    "numpy",
)


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can change a result."""
    found = {"python": sys.version.split()[0]}
    if ours := installed_version():
        found["ablate"] = ours
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the code that runs, `-dirty` if changed; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def threads() -> int | None:
    """The threads OMP_NUM_THREADS allows; None where it does not say."""
    said = re.match(r"\s*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))
    return int(said[1]) if said else None


def record(
    step: Step,
    status: Literal["done", "failed"],
    *,
    result: dict[str, Any] | None = None,
    error: tuple[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A step's record. `error`: type and message; `more`: times, device, restarts."""
    return {
        "schema": SCHEMA,
        "key": step.key,
        "kind": step.kind,
        "slug": step.slug,
        "status": status,
        "result": result or {},
        "error": dict(zip(("type", "message"), error, strict=True)) if error else None,
        **more,
        "host": socket.gethostname(),
        "threads": threads() or os.cpu_count() or 1,
        "versions": versions(),
        "git_commit": git_commit(),
    }


def forget_peak_memory() -> None:
    """Begin to measure this process's peak memory anew, where the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """The largest resident memory of this process since it was last forgotten, in MiB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        kilobytes = next(
            line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")
        )
        return round(int(kilobytes) / 1024, 1)
    except (OSError, StopIteration):
        return 0.0
