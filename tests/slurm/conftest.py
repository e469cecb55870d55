"""A private Slurm on loopback that the tests of this folder share, without any accounting."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import core_fakes
import pytest
from loopback import HERE, ROOT, TOYS, Loopback
from rounds import Driver, results, run

from ablate.launch.slurm import jobs as slurm
from ablate.launch.slurm import squeue


@pytest.fixture(scope="session")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """Three nodes of four CPUs and two fake GPUs each, as the scripts beside this file set up."""
    found = Loopback(tmp_path_factory.mktemp("slurm"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def cluster(loopback: Loopback) -> Path:
    """Where its files are."""
    return loopback.folder


@pytest.fixture(autouse=True)
def on_cluster(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands find this cluster, its jobs find the fakes, and answers come quickly."""
    monkeypatch.setenv("SLURM_CONF", loopback.conf)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, TOYS, ROOT))))
    monkeypatch.setenv("ABLATE_CLUSTERS", str(HERE / "clusters.yaml"))
    monkeypatch.setattr(squeue, "ASK", 1.0)
    monkeypatch.setattr(slurm, "GRACE", 2.0)


@pytest.fixture
def fakes() -> Mapping[str, str]:
    """Executors that train nothing."""
    return core_fakes.EXECUTORS


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """All that the rounds come to on this machine, where nothing happens to them."""
    home = tmp_path_factory.mktemp("undisturbed")
    Driver(home, {}, run("local")).finish()
    return results(home)
