"""A private Ray on this machine that the tests of this folder share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_ray import LocalRay

HERE = Path(__file__).parent
TOYS, ROOT = HERE.parent / "toys", HERE.parents[1]


@pytest.fixture(scope="session")
def started() -> Iterator[LocalRay]:
    """A head and two nodes of two CPUs each."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    found = LocalRay(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(started: LocalRay, monkeypatch: pytest.MonkeyPatch) -> LocalRay:
    """The cluster, which `--backend ray` finds; its jobs find the fakes."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", started.address)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, TOYS, ROOT))))
    return started
