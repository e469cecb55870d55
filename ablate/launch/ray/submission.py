"""The Ray jobs that a drive has submitted, as its folder has them for whoever comes after.

ray.json              the cluster's address
ray-N/job.json        the keys of the job's steps, and what it asks for
ray-N/outcome.json    what the job came to
ray-N/                also its script and pickle, and what it printed (`printed.log`)
"""

import contextlib
import json
import os
import pickle
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.catalog.step_kinds import DRIVER
from ablate.config.infra import Infra
from ablate.files import (
    UNREADABLE,
    read_checked,
    read_json,
    with_checksum,
    write_atomic,
    write_json,
)
from ablate.launch.ray.cluster import Cluster
from ablate.launch.ray.options import Ray, options
from ablate.store.process import JOB

ELSEWHERE = re.compile(
    r"(RAY|SLURM|SSH|XDG)_|(CUDA_VISIBLE_DEVICES|DISPLAY|HOSTNAME|PWD|OLDPWD|SHLVL|TMPDIR|_)$"
)
"""Variables that say something of the driver's machine and not of a job's."""
OURS = re.compile(r"(ABLATE_\w+|PYTHONPATH)$")
"""Variables that a job has as its driver has them; others only where its node has none."""
GIB = 2**30


@dataclass
class Submission:
    """A job of a drive. It is written down before it is submitted: a driver that is killed in
    between loses nothing. `asked`: what it asks for, as the Jobs API has it; `tries`: how often Ray
    was asked for it."""

    folder: Path
    keys: Sequence[str]
    asked: Mapping[str, Any]
    tries: int = 1

    @property
    def number(self) -> str:
        """What Ray knows it by: `ablate-<drive>-<N>`, and from the second try on which it is."""
        name = f"ablate-{self.folder.parent.name}-{self.folder.name.partition('-')[2]}"
        return name if self.tries == 1 else f"{name}.{self.tries}"

    @property
    def answer(self) -> Path:
        """Where it leaves its outcome."""
        return self.folder / "outcome.json"

    @property
    def printed(self) -> Path:
        """Where it prints."""
        return self.folder / "printed.log"

    def save(self) -> None:
        """Write it down; what lies in the folder is for the user alone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = {"keys": list(self.keys), "asked": dict(self.asked), "tries": self.tries}
        write_json(self.folder / "job.json", with_checksum(known))


def new(drive: Path, keys: Sequence[str], infra: Infra) -> Submission:
    """The next job of the drive, of steps that run in this way, written down."""
    folder = drive / f"ray-{max(_numbers(drive), default=0) + 1}"
    submission = Submission(folder, keys, asks(infra))
    submission.save()
    return submission


def submissions(drive: Path) -> list[Submission]:
    """The jobs of the drive whose folder this is; of one that is not as it was written nobody
    knows, but the leases of its steps."""
    submissions = []
    for folder in (drive / f"ray-{number}" for number in _numbers(drive)):
        with contextlib.suppress(*UNREADABLE):
            submissions.append(Submission(folder, **(read_checked(folder / "job.json") or {})))
    return submissions


def remember(drive: Path, cluster: Cluster) -> None:
    """Write down where the drive's jobs are."""
    write_json(drive / "ray.json", {"address": cluster.address})


def cluster_of(drive: Path) -> Cluster | None:
    """Where the drive's jobs are; None where it has none."""
    with contextlib.suppress(*UNREADABLE):
        return Cluster(read_json(drive / "ray.json")["address"])
    return None


def asks(infra: Infra) -> dict[str, Any]:
    """What a job asks for whose steps run in this way, as the Jobs API has it."""
    asked = options(infra)
    wanted = {
        "entrypoint_num_cpus": asked.cpus * infra.devices,
        "entrypoint_num_gpus": gpus(infra),
        "entrypoint_memory": asked.memory_gb and asked.memory_gb * GIB,
        "entrypoint_resources": dict(asked.resources),
    }
    return {name: value for name, value in wanted.items() if value}


def gpus(infra: Infra) -> int:
    """How many GPUs a job has: unless it is said otherwise, one for each of its processes."""
    asked = options(infra).gpus
    return infra.devices * on_gpus(infra) if asked is None else asked


def on_gpus(infra: Infra) -> bool:
    """Whether steps run on GPUs there: unless it is said otherwise, they do."""
    return options(infra).gpus != 0 if infra.device == "auto" else infra.device == "cuda"


def driver_infra(infra: Infra) -> Infra:
    """What a driver asks for: one core, none of what steps need beyond that, and what
    `infra.kinds.driver` says."""
    least = Ray(cpus=1, gpus=0, memory_gb=None)
    small = Infra.model_validate({"device": "cpu", "devices": 1, "nodes": 1, "ray": least})
    bare = options(infra).model_copy(update={"resources": {}})
    plain = small.over(infra.model_copy(update={"ray": bare}))
    return (infra.kinds.get(DRIVER) or Infra()).over(plain)


def of_kind(infra: Infra, kind: str) -> Infra:
    """How a job of this kind of steps runs."""
    return driver_infra(infra) if kind == DRIVER else infra.of(kind)


def python(infra: Infra) -> Sequence[str]:
    """The words that start Python on a node."""
    return options(infra).python or (sys.executable,)


def prepare(folder: Path, infra: Infra, call: Callable[[int], Any], printed: Path) -> None:
    """Put what a job runs into `folder`: a script, and the pickle of a `call`.

    The call is given the number of its process, 0 of the job's first. The job has the driver's
    environment where its node says nothing else; that, like the rest, is for the user alone.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, script = folder / "call.pkl", folder / "job.sh"
    path.write_bytes(pickle.dumps(call))
    lines = ["#!/bin/bash", f"exec >>{shlex.quote(str(printed))} 2>&1 </dev/null"]
    for name, value in os.environ.items():
        if not name.isidentifier() or ELSEWHERE.match(name):
            continue
        before = "" if OURS.match(name) else f'[ -n "${{{name}+x}}" ] || '
        lines.append(f"{before}export {name}={shlex.quote(value)}")
    lines += [f"export OMP_NUM_THREADS={options(infra).cpus} TOKENIZERS_PARALLELISM=false"]
    lines += ["export CUDA_VISIBLE_DEVICES="] * (not on_gpus(infra))
    lines += [f"exec {shlex.join([*python(infra), '-m', 'ablate.launch.ray.task', str(path)])}"]
    write_atomic(script, "\n".join(lines) + "\n")


def entrypoint(folder: Path, number: str) -> str:
    """The line that runs what was prepared in `folder`, as the job of this number."""
    return f"export {JOB}={number}; exec bash {shlex.quote(str(folder / 'job.sh'))}"


def shown(infra: Infra, kinds: Iterable[str]) -> str:
    """What Ray will be asked for, for each kind of step, as a user would write it."""
    alike: dict[str, list[str]] = {}
    for kind in dict.fromkeys(kinds):
        how = of_kind(infra, kind)
        words = [f"--{name.replace('_', '-')}={_word(value)}" for name, value in asks(how).items()]
        lines = "\n    ".join([*words, f"-- {shlex.join(python(how))}"])
        alike.setdefault(lines, []).append(kind)
    return "\n".join(f"ray job submit for {', '.join(of)}:\n    {it}" for it, of in alike.items())


def _word(value: Any) -> str:
    return shlex.quote(json.dumps(value)) if isinstance(value, Mapping) else str(value)


def _numbers(drive: Path) -> list[int]:
    """The N of every `ray-N`, in order."""
    names = (path.name.partition("-")[2] for path in drive.glob("ray-*"))
    return sorted(int(name) for name in names if name.isdecimal())
