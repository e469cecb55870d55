"""A study whose steps are done by fakes, in this process and in workers alike; a fake Slurm."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import core_fakes
import pytest

from ablate.config.study import Study, load_study


@pytest.fixture
def fakes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Executors that train nothing, importable by worker processes too, as are a test's own."""
    own = (str(Path(__file__).parent), str(request.path.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*own, os.environ.get("PYTHONPATH", "")]))
    return core_fakes.EXECUTORS


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ablate run` ends without a report, which takes longer than all that fakes do."""
    monkeypatch.setattr("ablate.commands.report.build", lambda study: "nowhere")


@pytest.fixture
def small() -> Study:
    """Two rounds over two experts: 3 candidates of 12 steps."""
    return load_study("micro/smoke", ["seeds=[0]"])


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes squeue print this, and counts how often it is asked; `away`: it fails."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def says(text: str) -> None:
        end = "exit 1" if text == "away" else f"cat <<'E'\n{text}\nE"
        write(folder / "squeue", f"echo >>{folder}/asked\n{end}")

    def write(path: Path, script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    write(folder / "srun", "")
    write(folder / "scancel", f"echo $@ >>{folder}/cancelled")
    write(folder / "scontrol", f"echo $@ >>{folder}/updated")
    write(folder / "sbatch", f"echo x >>{folder}/sent; echo job $(wc -l <{folder}/sent)")
    says("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("ablate.launch.slurm.squeue.ASK", 0.0)
    monkeypatch.setattr("ablate.launch.liveness.BEAT", 0.1)
    for name in ("GRACE", "LEAVE"):
        monkeypatch.setattr(f"ablate.launch.slurm.jobs.{name}", 0.1)
    return says
