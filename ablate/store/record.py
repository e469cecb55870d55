"""What a step's record says besides its result: where it ran, with what, and what it took."""

import os
import platform
import re
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ablate.catalog.plugins import of_spec
from ablate.config.distribution import installed_version
from ablate.store.steps import Step, ancestors

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
    packages = {"python": sys.version.split()[0]}
    if ours := installed_version():
        packages["ablate"] = ours
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return packages


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
    number = re.match(r"\s*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))
    return int(number[1]) if number else None


def machine() -> dict[str, str]:
    """What computes here, as far as it moves the last digits of a result.

    `cpu`: its model. `instructions`: the set that torch computes with (such as AVX512) and what
    the environment says of it; `gpu`: the models of the GPUs that torch sees. These two are there
    only where this process has imported torch.
    """
    machine = {"cpu": _cpu()}
    if torch := sys.modules.get("torch"):
        settings = [f"{name}={os.environ[name]}" for name in _INSTRUCTIONS if os.environ.get(name)]
        machine["instructions"] = " ".join([torch.backends.cpu.get_cpu_capability(), *settings])
        if torch.cuda.is_available():
            every = range(torch.cuda.device_count())
            machine["gpu"] = ", ".join(
                sorted({torch.cuda.get_device_name(device) for device in every})
            )
    return machine


_INSTRUCTIONS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
)
"""Variables that have torch, oneDNN or MKL compute with other instructions than they would."""


@cache
def _cpu() -> str:
    """The model of this machine's processors, or at least their architecture.

    With its numbers, where there are some: a virtual machine's may be called "Xeon Processor" only.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{word} {fields[key]}" for word, key in _NUMBERS.items() if fields.get(key)]
    return f"{name} ({', '.join(numbers)})" if numbers else name


_NUMBERS = {"family": "cpu family", "model": "model"}


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
        "stage": step.name,
        "slug": step.slug,
        "status": status,
        "result": result or {},
        "error": dict(zip(("type", "message"), error, strict=True)) if error else None,
        **more,
        "host": socket.gethostname(),
        "threads": _threads(),
        "machine": machine(),
        "versions": {**versions(), **_plug_ins(step)},
        "git_commit": git_commit(),
    }


def _threads() -> int:
    """How many threads compute, as torch says where it is imported."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else threads() or os.cpu_count() or 1


def _plug_ins(step: Step) -> dict[str, str]:
    """The versions of the packages whose plug-ins the step, or one it starts from, runs."""
    named = [
        plug_in for ancestor in ancestors([step]) for plug_in in of_spec(ancestor.spec).values()
    ]
    return {plugin["package"]: plugin["version"] for plugin in named}


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
