"""A private Slurm on loopback that the tests of this folder share, without any accounting."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = HERE.parent / "core"
sys.path.append(str(CORE))
import core_fakes  # noqa: E402

from ablate import slurm  # noqa: E402


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three nodes of four CPUs and two fake GPUs each, as the scripts beside this file set up."""
    folder = tmp_path_factory.mktemp("slurm")
    env = {**os.environ, "ACCT": "none", "GRACE": "3"}
    quiet = subprocess.DEVNULL
    subprocess.run([HERE / "start-slurm.sh", folder], check=True, stdout=quiet, env=env)
    yield folder
    subprocess.run([HERE / "stop-slurm.sh", folder], check=True, stdout=quiet)


@pytest.fixture(autouse=True)
def on_cluster(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands find this cluster, its jobs find the fakes, and answers come quickly."""
    monkeypatch.setenv("SLURM_CONF", str(cluster / "etc" / "slurm.conf"))
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{CORE}")
    monkeypatch.setenv("ABLATE_CLUSTERS", str(HERE / "clusters.yaml"))
    monkeypatch.setattr(slurm, "ASK", 1.0)
    monkeypatch.setattr(slurm, "GRACE", 2.0)


@pytest.fixture
def fakes() -> Mapping[str, str]:
    """Executors that train nothing."""
    return core_fakes.EXECUTORS


def told(*command: str) -> list[str]:
    """The lines that a command of Slurm's prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()
