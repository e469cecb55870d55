"""One cluster for all tests here, and the study that they hold against `--backend local`."""

import os
from collections.abc import Iterator

import pytest
from loopback import Loopback
from rounds import Driver, results


@pytest.fixture(scope="session")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A cluster that nobody else uses."""
    cluster = Loopback(tmp_path_factory.mktemp("loopback"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """All that the rounds come to on this machine, where nothing happens to them."""
    home = tmp_path_factory.mktemp("undisturbed")
    Driver(home, dict(os.environ), backend="local").finish()
    return results(home)
